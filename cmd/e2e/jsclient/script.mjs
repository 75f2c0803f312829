// The encrypted conversation with matrix-js-sdk: Alice on one server, Bob on another.
//
//   node script.mjs ALICE_BASE_URL BOB_BASE_URL
//
// Prints a line for each step that is done. The exit code is 0 when all are.
import assert from "node:assert/strict";
import { webcrypto } from "node:crypto";


import { api, begin, done, heard, main, password, sdk, session, step, text, until, within } from "./common.mjs";

const [aliceURL, bobURL] = process.argv.slice(2);

// uia answers the server's question for the password.
const uia = (userId) => async (request) => {
    try {
        return await request(null);
    } catch (e) {
        if (!e.data?.session) throw e;
        return request({
            type: "m.login.password", identifier: { type: "m.id.user", user: userId }, password, session: e.data.session,
        });
    }
};

// device makes a client that syncs; a new account, or one more device of it.
async function device(baseUrl, name, isNew, secrets) {
    const s = await session(baseUrl, name, isNew);
    const client = sdk.createClient({
        baseUrl, userId: s.user_id, accessToken: s.access_token, deviceId: s.device_id,
        timelineSupport: true,
        cryptoCallbacks: {
            getSecretStorageKey: async ({ keys }) => [Object.keys(keys)[0], secrets.key],
            cacheSecretStorageKey: (id, info, key) => { secrets.key = key; },
        },
    });
    client.setMaxListeners?.(50);
    await client.initRustCrypto({ useIndexedDB: false });
    await client.startClient({ initialSyncLimit: 50, lazyLoadMembers: true, pollTimeout: 10_000 });
    await until(`${name} syncs`, () => client.isInitialSyncComplete());
    return client;
}

async function bootstrap(client, secrets) {
    const crypto = client.getCrypto();
    await crypto.bootstrapCrossSigning({ authUploadDeviceSigningKeys: uia(client.getUserId()) });
    await crypto.bootstrapSecretStorage({
        createSecretStorageKey: async () => {
            const made = await crypto.createRecoveryKeyFromPassphrase();
            secrets.key = made.privateKey;
            return made;
        },
        setupNewSecretStorage: true,
        setupNewKeyBackup: true,
    });
    await until("cross-signing is ready", () => crypto.isCrossSigningReady());
}

async function conversation() {
    const ofAlice = {}, ofBob = {};
    begin("accounts");
    const alice = await device(aliceURL, "alice", true, ofAlice);
    const bob = await device(bobURL, "bob", true, ofBob);
    const [aliceID, bobID] = [alice.getUserId(), bob.getUserId()];
    done(step);

    begin("cross-signing, secret storage, key backup");
    await bootstrap(alice, ofAlice);
    await bootstrap(bob, ofBob);
    assert.ok(await bob.getCrypto().getActiveSessionBackupVersion(), "no key backup");
    done(step);

    begin("an encrypted room");
    const { room_id: roomId } = await alice.createRoom({
        preset: "private_chat", name: "Council", invite: [bobID],
        initial_state: [{ type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } }],
    });
    await until("Bob is invited", () => bob.getRoom(roomId)?.getMyMembership() === "invite");
    await bob.joinRoom(roomId);
    await until("Alice sees Bob", () => alice.getRoom(roomId)?.getMember(bobID)?.membership === "join");
    await until("Bob is in", () => bob.getRoom(roomId)?.getMyMembership() === "join" && bob.getRoom(roomId)?.hasEncryptionStateEvent());
    done(step);

    begin("messages");
    const { event_id: hello } = await alice.sendMessage(roomId, { msgtype: "m.text", body: "Good morning, Bob" });
    const got = await text(bob, roomId, aliceID, "Good morning, Bob");
    assert.equal(got.getId(), hello);
    assert.equal(got.getWireType(), "m.room.encrypted");
    const { event_id: answer } = await bob.sendMessage(roomId, {
        msgtype: "m.text", body: "Good morning, Alice", "m.relates_to": { "m.in_reply_to": { event_id: hello } },
    });
    assert.equal((await text(alice, roomId, bobID, "Good morning, Alice")).replyEventId, hello);
    done(step);

    begin("an edit");
    await alice.sendMessage(roomId, {
        msgtype: "m.text", body: "* Good evening, Bob", "m.new_content": { msgtype: "m.text", body: "Good evening, Bob" },
        "m.relates_to": { rel_type: "m.replace", event_id: hello },
    });
    await until("Bob reads the edit", () =>
        bob.getRoom(roomId).findEventById(hello)?.getContent().body === "Good evening, Bob");
    done(step);

    begin("a reaction");
    const { event_id: thumb } = await bob.sendEvent(roomId, "m.reaction", { "m.relates_to": { rel_type: "m.annotation", event_id: hello, key: "👍" } });
    await heard(alice, roomId, "the reaction", (evt) => evt.getId() === thumb && evt.getRelation()?.key === "👍");
    done(step);

    begin("a redaction");
    await bob.redactEvent(roomId, answer, undefined, { reason: "said in haste" });
    for (const client of [alice, bob]) {
        await until("it is gone", () => client.getRoom(roomId).findEventById(answer)?.isRedacted());
        assert.deepEqual((await client.fetchRoomEvent(roomId, answer)).content, {});
    }
    done(step);

    begin("receipts");
    await bob.sendReadReceipt(bob.getRoom(roomId).findEventById(hello), "m.read", true);
    await until("Alice sees it", () => alice.getRoom(roomId).hasUserReadEvent(bobID, hello));
    done(step);

    begin("a file");
    await file(alice, bob, roomId);
    done(step);

    begin("verification of each other");
    await compare(alice, bob, () => alice.getCrypto().requestVerificationDM(bobID, roomId));
    await until("Alice trusts Bob", async () => (await alice.getCrypto().getUserVerificationStatus(bobID)).isCrossSigningVerified());
    await until("Bob trusts Alice", async () => (await bob.getCrypto().getUserVerificationStatus(aliceID)).isCrossSigningVerified());
    done(step);

    begin("Bob's second device");
    const second = await secondDevice(alice, bob, roomId, ofBob);
    done(step);

    begin("reading the history from the backup");
    await history(bob, second, roomId, hello);
    done(step);

    begin("all three go on");
    await alice.sendMessage(roomId, { msgtype: "m.text", body: "Is that your new telephone?" });
    await text(bob, roomId, aliceID, "Is that your new telephone?");
    await text(second, roomId, aliceID, "Is that your new telephone?");
    await second.sendMessage(roomId, { msgtype: "m.text", body: "It is" });
    await text(alice, roomId, bobID, "It is");
    await text(bob, roomId, bobID, "It is");
    done(step);
    for (const client of [alice, bob, second]) client.stopClient();
}

// file: Alice sends an encrypted file, Bob opens it.
async function file(alice, bob, roomId) {
    const plain = Buffer.from("Minutes of the council. ".repeat(20_000));
    const key = await webcrypto.subtle.generateKey({ name: "AES-CTR", length: 256 }, true, ["encrypt", "decrypt"]);
    const iv = new Uint8Array(16);
    webcrypto.getRandomValues(iv.subarray(0, 8));
    const cipher = { name: "AES-CTR", counter: iv, length: 64 };
    const sealed = new Uint8Array(await webcrypto.subtle.encrypt(cipher, key, plain));
    const hash = Buffer.from(await webcrypto.subtle.digest("SHA-256", sealed)).toString("base64").replace(/=+$/, "");
    const { content_uri: uri } = await alice.uploadContent(new Blob([sealed]), { type: "application/octet-stream" });
    await alice.sendMessage(roomId, {
        msgtype: "m.file", body: "minutes.txt", info: { mimetype: "text/plain", size: plain.length },
        file: {
            v: "v2", url: uri, key: await webcrypto.subtle.exportKey("jwk", key),
            iv: Buffer.from(iv).toString("base64").replace(/=+$/, ""), hashes: { sha256: hash },
        },
    });
    const { file: info } = (await text(bob, roomId, alice.getUserId(), "minutes.txt")).getContent();
    const url = bob.mxcUrlToHttp(info.url, undefined, undefined, undefined, false, true, true);
    const res = await fetch(url, { headers: { Authorization: `Bearer ${bob.getAccessToken()}` } });
    assert.equal(res.status, 200, await res.clone().text());
    const theirs = await webcrypto.subtle.importKey("jwk", info.key, "AES-CTR", false, ["decrypt"]);
    const opened = await webcrypto.subtle.decrypt({ ...cipher, counter: Buffer.from(info.iv, "base64") }, theirs, await res.arrayBuffer());
    assert.ok(plain.equals(Buffer.from(opened)), "another file");
}

// compare verifies two devices by emoji.
async function compare(one, two, ask) {
    const asked = new Promise((resolve) => two.once("crypto.verificationRequestReceived", resolve));
    const mine = await ask();
    const theirs = await within("the request comes", asked);
    await theirs.accept();
    await until("it is ready", () => mine.phase === api.VerificationPhase.Ready);
    const verifier = await mine.startVerification("m.sas.v1");
    await until("the other side started", () => theirs.verifier);
    const shown = [verifier, theirs.verifier].map((v) => new Promise((resolve, reject) => {
        v.once("show_sas", resolve);
        v.once("cancel", reject);
    }));
    const ends = [verifier.verify(), theirs.verifier.verify()];
    const [a, b] = await within("emoji are shown", Promise.all(shown));
    assert.deepEqual(a.sas.emoji, b.sas.emoji);
    await within("both confirm", Promise.all([a.confirm(), b.confirm(), ...ends]));
    await until("both are done", () => [mine, theirs].every((r) => r.phase === api.VerificationPhase.Done));
}

// secondDevice proves itself with the secret storage; the first device and Alice trust it.
async function secondDevice(alice, bob, roomId, secrets) {
    const bobID = bob.getUserId();
    const second = await device(bobURL, "bob", false, secrets);
    assert.ok(await second.getCrypto().userHasCrossSigningKeys(bobID, true), "the server knows no signing keys of Bob");
    await second.getCrypto().bootstrapCrossSigning({ authUploadDeviceSigningKeys: uia(bobID) });
    await until("the second device is signed", async () => {
        const status = await second.getCrypto().getDeviceVerificationStatus(bobID, second.getDeviceId());
        return status?.crossSigningVerified;
    });
    for (const client of [alice, bob]) {
        await until(`${client.getUserId()} trusts it`, async () => {
            await client.getCrypto().getUserDeviceInfo([bobID], true);
            return (await client.getCrypto().getDeviceVerificationStatus(bobID, second.getDeviceId()))?.crossSigningVerified;
        });
    }
    await until("it is in the room", () => second.getRoom(roomId)?.getMyMembership() === "join");
    return second;
}

// history is read by the second device, with the keys of the backup only.
async function history(bob, second, roomId, hello) {
    await until("the backup is filled", async () =>
        (await bob.http.authedRequest("GET", "/room_keys/version", undefined, undefined, { prefix: "/_matrix/client/v3" })).count > 0);
    await second.getCrypto().loadSessionBackupPrivateKeyFromSecretStorage();
    await second.getCrypto().checkKeyBackupAndEnable();
    const restored = await second.getCrypto().restoreKeyBackup();
    assert.ok(restored.imported > 0 && restored.imported === restored.total, JSON.stringify(restored));
    await until("it reads the first message", async () => {
        const evt = second.getRoom(roomId).findEventById(hello);
        if (!evt) {
            await second.scrollback(second.getRoom(roomId), 30);
            return false;
        }
        if (evt.isDecryptionFailure()) await evt.attemptDecryption(second.getCrypto(), { isRetry: true });
        return !evt.isDecryptionFailure() && evt.getOriginalContent().body === "Good morning, Bob";
    });
}

await main(conversation);
