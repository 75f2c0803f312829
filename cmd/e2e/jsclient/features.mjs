// What people do in rooms, with matrix-js-sdk: Alice and Bob on one server, Carol on another. Nothing is encrypted here.
//
//   node features.mjs ALICE_BASE_URL CAROL_BASE_URL
//
// Prints a line for each step that is done. The exit code is 0 when all are.
import assert from "node:assert/strict";

import { begin, done, events, main, password, sdk, session, step, text, until } from "./common.mjs";

const [homeURL, awayURL] = process.argv.slice(2);
let homeName; // of the first server

// person makes an account and a client that syncs.
async function person(baseUrl, name) {
    const s = await session(baseUrl, name, true);
    const client = sdk.createClient({ baseUrl, userId: s.user_id, accessToken: s.access_token, deviceId: s.device_id, timelineSupport: true });
    client.setMaxListeners?.(100);
    await client.startClient({ initialSyncLimit: 50, lazyLoadMembers: true, threadSupport: true, pollTimeout: 10_000 });
    await until(`${name} syncs`, () => client.isInitialSyncComplete());
    return client;
}

const say = async (client, roomId, body, more) => (await client.sendMessage(roomId, { msgtype: "m.text", body, ...more })).event_id;
const membership = (client, roomId) => client.getRoom(roomId)?.getMyMembership();
const get = (client, path, query, prefix = "/_matrix/client/v3") => client.http.authedRequest("GET", path, query, undefined, { prefix });
const post = (client, path, body, prefix = "/_matrix/client/v3") => client.http.authedRequest("POST", path, undefined, body, { prefix });

async function refused(what, promise, ...codes) {
    const error = await promise.then(() => undefined, (e) => e);
    assert.ok(error, `${what}: allowed`);
    assert.ok(codes.includes(error.errcode), `${what}: ${error.errcode} ${error.message}`);
}

async function room(alice, bob, more) {
    const { room_id: roomId } = await alice.createRoom({ preset: "private_chat", invite: [bob.getUserId()], ...more });
    await until("Bob is invited", () => membership(bob, roomId) === "invite");
    await bob.joinRoom(roomId);
    await until("Bob is in", () => membership(bob, roomId) === "join");
    await until("Alice sees Bob", () => alice.getRoom(roomId)?.getMember(bob.getUserId())?.membership === "join");
    return roomId;
}

async function threads(alice, bob, roomId) {
    const root = await say(alice, roomId, "Agenda");
    const agenda = await text(bob, roomId, alice.getUserId(), "Agenda");
    bob.getRoom(roomId).createThread(root, agenda, [], false);
    const inThread = { "m.relates_to": { rel_type: "m.thread", event_id: root, is_falling_back: true, "m.in_reply_to": { event_id: root } } };
    const first = await say(bob, roomId, "First point", inThread);
    const second = await say(bob, roomId, "Second point, @alice", { ...inThread, "m.mentions": { user_ids: [alice.getUserId()] } });
    const thread = await until("Alice has the thread", () => alice.getRoom(roomId).getThread(root));
    await until("it has both replies", () => thread.length === 2 && thread.events.some((e) => e.getId() === second));
    const ar = alice.getRoom(roomId);
    await until("unread in the thread", () => ar.getThreadUnreadNotificationCount(root, "total") === 2 && ar.getThreadUnreadNotificationCount(root, "highlight") === 1);
    assert.equal(ar.getRoomUnreadNotificationCount("total"), 0, "the main timeline counts the thread");
    await alice.sendReadReceipt(thread.events.find((e) => e.getId() === second));
    await until("the thread is read", () => ar.getThreadUnreadNotificationCount(root, "total") === 0);
    const list = await get(bob, `/rooms/${encodeURIComponent(roomId)}/threads`, { include: "all" }, "/_matrix/client/v1");
    assert.equal(list.chunk[0].event_id, root);
    assert.equal(list.chunk[0].unsigned["m.relations"]["m.thread"].count, 2);
    assert.equal(list.chunk[0].unsigned["m.relations"]["m.thread"].latest_event.event_id, second);
    const relations = await alice.relations(roomId, root, "m.thread", null);
    assert.deepEqual(relations.events.map((e) => e.getId()).sort(), [first, second].sort());
    await until("Bob sees Alice's receipt in the thread", () =>
        bob.getRoom(roomId).getThread(root)?.getReadReceiptForUserId(alice.getUserId())?.eventId === second);
}

async function changes(alice, bob, roomId) {
    const id = await say(alice, roomId, "The meeting is on Monday");
    await say(alice, roomId, "* The meeting is on Tuesday", {
        "m.new_content": { msgtype: "m.text", body: "The meeting is on Tuesday" }, "m.relates_to": { rel_type: "m.replace", event_id: id },
    });
    await until("Bob reads the edit", () => bob.getRoom(roomId)?.findEventById(id)?.getContent().body === "The meeting is on Tuesday");
    const reactions = [];
    for (const key of ["👍", "🎉"]) {
        reactions.push((await bob.sendEvent(roomId, "m.reaction", { "m.relates_to": { rel_type: "m.annotation", event_id: id, key } })).event_id);
    }
    await refused("the same reaction twice", bob.sendEvent(roomId, "m.reaction", { "m.relates_to": { rel_type: "m.annotation", event_id: id, key: "👍" } }), "M_DUPLICATE_ANNOTATION");
    const got = await alice.relations(roomId, id, "m.annotation", "m.reaction");
    assert.deepEqual(got.events.map((e) => e.getRelation().key).sort(), ["👍", "🎉"].sort());
    await bob.redactEvent(roomId, reactions[0]);
    await until("the reaction is gone", async () => (await alice.relations(roomId, id, "m.annotation", "m.reaction")).events.length === 1);
    const raw = await bob.fetchRoomEvent(roomId, id);
    assert.equal(raw.content.body, "The meeting is on Monday", "an edited event keeps its content");
    assert.equal(raw.unsigned["m.relations"]["m.replace"].content["m.new_content"].body, "The meeting is on Tuesday");
    await alice.redactEvent(roomId, id, undefined, { reason: "moved" });
    await until("it is gone for Bob", () => bob.getRoom(roomId)?.findEventById(id)?.isRedacted());
    await refused("Bob redacts Alice", bob.redactEvent(roomId, await say(alice, roomId, "not yours")), "M_FORBIDDEN");
}

async function receipts(alice, bob, roomId) {
    const id = await say(alice, roomId, "Please read this, @bob", { "m.mentions": { user_ids: [bob.getUserId()] } });
    const evt = await text(bob, roomId, alice.getUserId(), "Please read this, @bob");
    const br = bob.getRoom(roomId);
    await until("Bob has a highlight", () => br.getRoomUnreadNotificationCount("highlight") === 1);
    const list = await get(bob, "/notifications", { only: "highlight" });
    assert.equal(list.notifications[0].event.event_id, id);
    assert.equal(list.notifications[0].read, false);
    await bob.sendReadReceipt(evt, "m.read.private");
    await until("Bob has read it", () => br.getRoomUnreadNotificationCount("highlight") === 0 && br.getRoomUnreadNotificationCount("total") === 0);
    assert.equal(alice.getRoom(roomId).hasUserReadEvent(bob.getUserId(), id), false, "a private receipt is seen");
    const next = await say(alice, roomId, "And this");
    await bob.sendReadReceipt(await text(bob, roomId, alice.getUserId(), "And this"), "m.read");
    await until("Alice sees the receipt", () => alice.getRoom(roomId).hasUserReadEvent(bob.getUserId(), next));
    await bob.setRoomReadMarkers(roomId, next, undefined);
    await until("the marker comes back", () => br.getAccountData("m.fully_read")?.getContent().event_id === next);
}

async function presence(alice, bob, roomId) {
    const typing = () => bob.getRoom(roomId)?.getMember(alice.getUserId())?.typing;
    await alice.sendTyping(roomId, true, 20_000);
    await until("Alice types", () => typing());
    await alice.sendTyping(roomId, false, 0);
    await until("Alice has stopped", () => !typing());
    await alice.setSyncPresence("unavailable"); // else the next poll makes her online
    await alice.setPresence({ presence: "unavailable", status_msg: "In a meeting" });
    await until("Bob sees it", async () => {
        const p = await bob.getPresence(alice.getUserId());
        return p.presence === "unavailable" && p.status_msg === "In a meeting";
    });
    await until("by sync too", () => bob.getUser(alice.getUserId())?.presenceStatusMsg === "In a meeting");
    await alice.setSyncPresence("online");
}

async function search(alice, bob, roomId) {
    const id = await say(alice, roomId, "Le préfet a signé l'arrêté municipal");
    await text(bob, roomId, alice.getUserId(), "Le préfet a signé l'arrêté municipal");
    await until("it is found", async () => {
        const found = await bob.searchRoomEvents({ term: "arrêté préfet" });
        return found.results.some((r) => r.context.getEvent().getId() === id);
    });
    const none = await bob.searchRoomEvents({ term: "xylophone" });
    assert.equal(none.results.length, 0);
    const users = await bob.searchUserDirectory({ term: "ali", limit: 10 });
    assert.ok(users.results.some((u) => u.user_id === alice.getUserId()), JSON.stringify(users));
}

async function spaces(alice, bob, carol, roomId) {
    const { room_id: space } = await alice.createRoom({ name: "Ministry", preset: "public_chat", creation_content: { type: "m.space" } });
    const child = async (id) => alice.sendStateEvent(space, "m.space.child", { via: [homeName] }, id);
    await child(roomId);
    const { room_id: open } = await alice.createRoom({
        name: "Everybody of the ministry", initial_state: [{ type: "m.room.join_rules", state_key: "", content: {
            join_rule: "restricted", allow: [{ type: "m.room_membership", room_id: space }] } }],
    });
    await child(open);
    await refused("not in the space", carol.joinRoom(open, { viaServers: [homeName] }), "M_FORBIDDEN");
    await carol.joinRoom(space, { viaServers: [homeName] });
    await until("Carol is in the space", () => membership(carol, space) === "join");
    const tree = await carol.getRoomHierarchy(space, 50);
    assert.ok(tree.rooms.some((r) => r.room_id === open), JSON.stringify(tree));
    assert.ok(!tree.rooms.some((r) => r.room_id === roomId), "a private room is shown");
    await carol.joinRoom(open, { viaServers: [homeName] });
    await until("Carol is in", () => membership(carol, open) === "join");
    const mine = await until("Bob sees the whole tree", async () => {
        await bob.joinRoom(space);
        const t = await bob.getRoomHierarchy(space, 50);
        return t.rooms.length === 3 && t;
    });
    assert.equal(mine.rooms[0].room_id, space);
    const summary = await get(carol, `/room_summary/${encodeURIComponent(open)}`, { via: homeName }, "/_matrix/client/v1");
    assert.equal(summary.join_rule, "restricted");
    assert.equal(summary.name, "Everybody of the ministry");
    assert.equal(summary.membership, "join");
}

async function knock(alice, carol) {
    const { room_id: roomId } = await alice.createRoom({
        name: "Behind the door", initial_state: [{ type: "m.room.join_rules", state_key: "", content: { join_rule: "knock" } }],
    });
    await carol.knockRoom(roomId, { reason: "I work on this", viaServers: [homeName] });
    await until("Carol waits", () => membership(carol, roomId) === "knock");
    assert.equal(carol.getRoom(roomId).name, "Behind the door");
    const member = await until("Alice hears it", () => {
        const m = alice.getRoom(roomId)?.getMember(carol.getUserId());
        return m?.membership === "knock" && m;
    });
    assert.equal(member.events.member.getContent().reason, "I work on this");
    await alice.invite(roomId, carol.getUserId());
    await until("Carol is invited", () => membership(carol, roomId) === "invite");
    await carol.joinRoom(roomId);
    await until("Carol is in", () => membership(carol, roomId) === "join");
    await say(carol, roomId, "Thank you");
    await text(alice, roomId, carol.getUserId(), "Thank you");
}

async function upgrade(alice, bob, carol) {
    const roomId = await room(alice, bob, { room_version: "10", name: "Old" });
    await alice.invite(roomId, carol.getUserId());
    await until("Carol is invited", () => membership(carol, roomId) === "invite");
    await carol.joinRoom(roomId);
    await until("Carol is in", () => membership(carol, roomId) === "join");
    const { replacement_room: next } = await alice.upgradeRoom(roomId, "12");
    await until("Bob sees the tombstone", () =>
        bob.getRoom(roomId)?.currentState.getStateEvents("m.room.tombstone", "")?.getContent().replacement_room === next);
    await until("Alice is in the new room", () => membership(alice, next) === "join");
    assert.equal(alice.getRoom(next).getVersion(), "12");
    assert.equal(alice.getRoom(next).findPredecessor()?.roomId, roomId);
    assert.equal(alice.getRoom(next).name, "Old");
    await refused("Bob speaks in the old room", say(bob, roomId, "still here?"), "M_FORBIDDEN");
    for (const client of [bob, carol]) {
        await alice.invite(next, client.getUserId());
        await until("the others are invited", () => membership(client, next) === "invite");
        await client.joinRoom(next, { viaServers: [homeName] });
        await until("the others are in", () => membership(client, next) === "join");
    }
    await say(carol, next, "Here we are");
    await text(bob, next, carol.getUserId(), "Here we are");
}

async function reports(alice, bob, roomId) {
    const id = await say(bob, roomId, "Something rude");
    await alice.reportEvent(roomId, id, -100, "rude");
    await alice.reportRoom(roomId, "a bad place");
    await post(alice, `/users/${encodeURIComponent(bob.getUserId())}/report`, { reason: "spam" });
    await refused("an unknown event", alice.reportEvent(roomId, "$" + "x".repeat(43), -1, ""), "M_NOT_FOUND");
}

// picture is a PNG of one colour, made by hand.
async function picture() {
    const { deflateSync, crc32 } = await import("node:zlib");
    const { Buffer } = await import("node:buffer");
    const crc = crc32 ?? ((b) => {
        let c = ~0;
        for (const x of b) { c ^= x; for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1; }
        return ~c >>> 0;
    });
    const chunk = (type, data) => {
        const body = Buffer.concat([Buffer.from(type), data]), out = Buffer.alloc(8);
        out.writeUInt32BE(data.length, 0);
        out.writeUInt32BE(crc(body), 4);
        return Buffer.concat([out.subarray(0, 4), body, out.subarray(4)]);
    };
    const head = Buffer.alloc(13);
    head.writeUInt32BE(200, 0); head.writeUInt32BE(100, 4);
    head.set([8, 2, 0, 0, 0], 8);
    const rows = Buffer.alloc(100 * 601, 0x40);
    for (let y = 0; y < 100; y++) rows[y * 601] = 0;
    return Buffer.concat([Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]), chunk("IHDR", head), chunk("IDAT", deflateSync(rows)), chunk("IEND", Buffer.alloc(0))]);
}

async function media(alice, carol) {
    const png = await picture();
    const { content_uri: uri } = await alice.uploadContent(new Blob([png]), { type: "image/png", name: "flag.png" });
    const open = async (client, ...size) => fetch(client.mxcUrlToHttp(uri, ...size, ...Array(3 - size.length).fill(undefined), false, true, true),
        { headers: { Authorization: `Bearer ${client.getAccessToken()}` } });
    for (const client of [alice, carol]) {
        const whole = await open(client);
        assert.equal(whole.status, 200);
        assert.equal(whole.headers.get("content-type"), "image/png");
        assert.match(whole.headers.get("content-disposition"), /flag\.png/);
        assert.ok(png.equals(Buffer.from(await whole.arrayBuffer())), "another file");
        const small = await open(client, 32, 32, "scale");
        assert.equal(small.status, 200);
        assert.ok((await small.arrayBuffer()).byteLength > 0);
    }
    const bare = await fetch(alice.mxcUrlToHttp(uri, undefined, undefined, undefined, false, true, true));
    assert.equal(bare.status, 401, "media is given to strangers");
    assert.ok((await alice.getMediaConfig(true))["m.upload.size"] > 1000);
}

async function person2(alice, bob, roomId) {
    await alice.setDisplayName("Alice Durand");
    await until("Bob sees the name", () => bob.getRoom(roomId)?.getMember(alice.getUserId())?.name === "Alice Durand");
    await alice.setExtendedProfileProperty("m.tz", "Europe/Paris");
    assert.equal(await bob.getExtendedProfileProperty(alice.getUserId(), "m.tz"), "Europe/Paris");
    await alice.deleteExtendedProfileProperty("m.tz");
    await refused("a deleted field", get(bob, `/profile/${encodeURIComponent(alice.getUserId())}/m.tz`), "M_NOT_FOUND");
    assert.deepEqual(await bob.getExtendedProfile(alice.getUserId()), { displayname: "Alice Durand" });
    await alice.setRoomTag(roomId, "m.favourite", { order: 0.5 });
    await until("the tag comes back", () => alice.getRoom(roomId).tags["m.favourite"]?.order === 0.5);
    await alice.deleteRoomTag(roomId, "m.favourite");
    await until("it is gone", () => !alice.getRoom(roomId).tags["m.favourite"]);
    await alice.setAccountData("org.example.setting", { on: true });
    assert.deepEqual(await alice.getAccountDataFromServer("org.example.setting"), { on: true });
    await bob.setIgnoredUsers([alice.getUserId()]);
    await until("Bob ignores Alice", () => bob.isUserIgnored(alice.getUserId()));
    const unseen = await say(alice, roomId, "Bob does not see this");
    const seen = await say(bob, roomId, "Bob says so himself");
    await until("Bob hears himself", () => events(bob, roomId).some((e) => e.getId() === seen));
    assert.ok(!events(bob, roomId).some((e) => e.getId() === unseen), "an ignored user is heard");
    await bob.setIgnoredUsers([]);
    const rule = { kind: "content", rule_id: "org.example.word", pattern: "urgent", actions: ["notify", { set_tweak: "highlight" }] };
    await bob.addPushRule("global", rule.kind, rule.rule_id, { pattern: rule.pattern, actions: rule.actions });
    await until("the rule comes by sync", () => bob.pushRules?.global.content?.some((r) => r.rule_id === rule.rule_id));
    const before = bob.getRoom(roomId).getRoomUnreadNotificationCount("highlight");
    await say(alice, roomId, "this is URGENT indeed");
    await until("it highlights", () => bob.getRoom(roomId).getRoomUnreadNotificationCount("highlight") === before + 1);
    await bob.deletePushRule("global", rule.kind, rule.rule_id);
}

// timelines: a client that was away gets a gap, and fills it.
async function timelines(alice, bob, roomId) {
    const s = await sdk.createClient({ baseUrl: homeURL }).loginRequest({ type: "m.login.password", identifier: { type: "m.id.user", user: "bob" }, password });
    const second = sdk.createClient({ baseUrl: homeURL, userId: s.user_id, accessToken: s.access_token, deviceId: s.device_id, timelineSupport: true });
    const ids = [];
    for (let i = 0; i < 30; i++) ids.push(await say(alice, roomId, `line ${i}`));
    await second.startClient({ initialSyncLimit: 5, lazyLoadMembers: true, pollTimeout: 10_000 });
    await until("it syncs", () => second.isInitialSyncComplete());
    const mine = second.getRoom(roomId);
    assert.ok(events(second, roomId).length <= 6, "the limit is not kept");
    await until("all is there", async () => {
        await second.scrollback(mine, 10);
        const have = new Set(events(second, roomId).map((e) => e.getId()));
        return ids.every((id) => have.has(id));
    });
    const order = events(second, roomId).map((e) => e.getId()).filter((id) => ids.includes(id));
    assert.deepEqual(order, ids);
    const at = await get(bob, `/rooms/${encodeURIComponent(roomId)}/context/${encodeURIComponent(ids[10])}`, { limit: 4 });
    assert.equal(at.event.event_id, ids[10]);
    assert.deepEqual([...at.events_before.map((e) => e.event_id).reverse(), ...at.events_after.map((e) => e.event_id)], [ids[8], ids[9], ids[11], ids[12]]);
    second.stopClient();
    await second.logout(true);
    await refused("a session that is over", second.whoami(), "M_UNKNOWN_TOKEN");
}

async function features() {
    begin("accounts");
    const [alice, bob, carol] = [await person(homeURL, "alice"), await person(homeURL, "bob"), await person(awayURL, "carol")];
    homeName = alice.getDomain();
    const roomId = await room(alice, bob, { name: "Council" });
    done(step);
    for (const [what, fn] of Object.entries({
        threads: () => threads(alice, bob, roomId),
        "edits, reactions, redactions": () => changes(alice, bob, roomId),
        "receipts, notifications, highlights": () => receipts(alice, bob, roomId),
        "typing and presence": () => presence(alice, bob, roomId),
        search: () => search(alice, bob, roomId),
        "spaces, restricted join, summary": () => spaces(alice, bob, carol, roomId),
        knock: () => knock(alice, carol),
        upgrade: () => upgrade(alice, bob, carol),
        reports: () => reports(alice, bob, roomId),
        media: () => media(alice, carol),
        "profile, tags, ignored users, push rules": () => person2(alice, bob, roomId),
        "timelines and sessions": () => timelines(alice, bob, roomId),
    })) {
        begin(what);
        await fn();
        done(what);
    }
    for (const client of [alice, bob, carol]) client.stopClient();
}

await main(features);
