// What the programs share: waiting, sessions, hearing.

// Node.js 20 lacks this one function of the language.
Promise.withResolvers ??= function () {
    let resolve, reject;
    const promise = new this((a, b) => { resolve = a; reject = b; });
    return { promise, resolve, reject };
};

export const sdk = await import("matrix-js-sdk");
export const api = await import("matrix-js-sdk/lib/crypto-api/index.js");
const { logger } = await import("matrix-js-sdk/lib/logger.js");
logger.setLevel(process.env.JSCLIENT_LOG ?? "silent");
logger.getChild = () => logger;

export const patience = 40_000;
export const password = "correct horse battery staple";

// step is what is being tried; begin says what comes, done that it is over.
export let step = "start";
export const done = (what) => { console.log(`done: ${what}`); };
export const begin = (what) => { step = what; };

// main runs the program, and tells by its exit code how it went.
export async function main(program) {
    try {
        await program();
        process.exit(0);
    } catch (e) {
        console.error(`failed: ${step}:`, e);
        process.exit(1);
    }
}

// until waits for a condition, which may give a value.
export async function until(what, is) {
    const end = Date.now() + patience;
    for (;;) {
        const value = await is();
        if (value) return value;
        if (Date.now() > end) throw new Error(`waited in vain until ${what}`);
        await new Promise((r) => setTimeout(r, 25));
    }
}

// within ends the wait for a promise.
export function within(what, promise) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`waited in vain until ${what}`)), patience);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export async function session(baseUrl, name, isNew) {
    const guest = sdk.createClient({ baseUrl });
    if (!isNew) {
        return guest.loginRequest({ type: "m.login.password", identifier: { type: "m.id.user", user: name }, password });
    }
    return guest.registerRequest({ username: name, password, auth: { type: "m.login.dummy" } });
}

export const events = (client, roomId) => client.getRoom(roomId)?.getLiveTimeline().getEvents() ?? [];

// heard waits for an event of the room that can be read.
export async function heard(client, roomId, what, is) {
    return until(`${client.getUserId()} hears ${what}`, async () => {
        for (const evt of events(client, roomId)) {
            if (evt.getClearContent() === null && evt.isEncrypted()) continue;
            if (is(evt)) return evt;
        }
    });
}

export const text = (client, roomId, sender, body) => heard(client, roomId, JSON.stringify(body), (evt) =>
    evt.getSender() === sender && evt.getType() === "m.room.message" && evt.getContent().body === body);
