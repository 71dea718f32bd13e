// A server of readstate.v1 in memory: what one in another language needs to be measured by `bench run --url`.
//   node server.mjs --population population.jsonl [--port 8080] [--secret SECRET]
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { parseArgs } from "node:util";
import { upgrade } from "./websocket.mjs";

const text = { type: "string" };
const { port, population, secret } = parseArgs({ options: { port: text, population: text, secret: text } }).values;
const LIMITS = { frame_bytes: 65536, batch: 100, body_bytes: 4096, state_conversations: 500, sync_changes: 500, receipt_members: 200 };
const ACK = { send: "volatile", read: "volatile" };
const rooms = new Map(), roomsOf = new Map(), logs = new Map(), sent = new Map(), devices = new Map();
let ids = 0;

for (const line of readFileSync(population, "utf8").split("\n").filter(Boolean)) {
  const [id, kind, numbers, history, read] = JSON.parse(line);
  const members = numbers.map((number) => `u${number}`);
  const cursors = new Map(members.map((user, i) => [user, { read: read[i], delivered: read[i], version: 0 }]));
  const senders = Array.from({ length: history }, (_, i) => members[i % members.length]); // of message i + 1
  const room = { id, kind, members, cursors, senders, at: 0 };
  rooms.set(id, room);
  for (const user of members) (roomsOf.get(user) ?? roomsOf.set(user, []).get(user)).push(room);
}

class Refused extends Error { constructor(code, message, current) { super(message); Object.assign(this, { code, current }); } }
const need = (holds, message, code = "BAD_REQUEST") => { if (!holds) throw new Refused(code, message); };
const isId = (value) => typeof value === "string" && /^[\x21-\x7e]{1,64}$/.test(value);
const logOf = (user) => logs.get(user) ?? logs.set(user, []).get(user);
const peerOf = (room, user) => (room.kind === "direct" ? room.members.find((member) => member !== user) : undefined);
const unread = (room, user) => room.senders.length - room.cursors.get(user).read;
const total = (user) => (roomsOf.get(user) ?? []).reduce((sum, room) => sum + unread(room, user), 0);

function roomOf(user, id) {
  need(isId(id), "conversation_id is 1 to 64 ASCII characters");
  need(rooms.get(id)?.cursors.has(user), `${user} is not a member of ${id}`, "NOT_MEMBER");
  return rooms.get(id);
}

function push(users, room, origin, frame) {
  const encoded = JSON.stringify(frame);
  for (const user of users)
    for (const session of devices.get(user)?.values() ?? [])
      if (session !== origin && (session.keys.has("*") || session.keys.has(`conv/${room.id}`))) session.socket.send(encoded);
}

function marks(session, items) { // checked as a whole before any of them is applied
  need(Array.isArray(items) && items.length, "items is a list of marks");
  need(items.length <= LIMITS.batch, `at most ${LIMITS.batch} items`, "TOO_LARGE");
  return items.map(({ conversation_id, up_to_seq, message_ids, if_version }) => {
    need(message_ids === undefined && if_version === undefined, "only up_to_seq is offered", "UNSUPPORTED");
    need(Number.isSafeInteger(up_to_seq) && up_to_seq > 0, "up_to_seq is 1 or more");
    const room = roomOf(session.user, conversation_id), last_seq = room.senders.length;
    if (up_to_seq > last_seq) throw new Refused("SEQ_AHEAD", `${room.id} ends at ${last_seq}`, { last_seq });
    return [room, up_to_seq];
  });
}

function advance(session, room, upTo, at, told) { // whether the read cursor moved; it never moves back
  const { user } = session, cursor = room.cursors.get(user), from = cursor.read, peer = peerOf(room, user);
  if (upTo <= from) return false;
  Object.assign(cursor, { read: upTo, delivered: Math.max(cursor.delivered, upTo), version: cursor.version + 1 });
  if (!told) return true;
  const key = `read/${room.id}/${user}`, value = { up_to_seq: upTo, read_time: at };
  const update = { type: "UPDATE", key, value, version: cursor.version, at, origin_device: session.device };
  const logged = (whose) => logOf(whose).push({ change_id: logOf(whose).length + 1, kind: "read", conversation_id: room.id,
    actor_id: user, from_seq: from, up_to_seq: upTo, version: cursor.version, at });
  push([user], room, session, { ...update, value: { ...value, unread: unread(room, user) }, change_id: logged(user) });
  if (peer) push([peer], room, session, { ...update, change_id: logged(peer) });
  else if (room.members.length <= LIMITS.receipt_members)
    push([...new Set(room.senders.slice(from, upTo))].filter((sender) => sender !== user), room, session, update);
  return true;
}

const answers = {
  SUB(session, { keys }) {
    need(Array.isArray(keys), "keys is a list");
    need(keys.every((key) => key === "*" || /^conv\/./.test(key)), "a key is '*' or 'conv/<id>'", "UNSUPPORTED");
    keys.forEach((key) => session.keys.add(key));
    return { type: "ACK", count: session.keys.size };
  },
  UNSUB(session, { keys }) {
    need(Array.isArray(keys), "keys is a list");
    keys.forEach((key) => session.keys.delete(key));
    return { type: "ACK", count: session.keys.size };
  },
  SEND(session, { conversation_id, client_msg_id, body }) {
    need(typeof body === "string" && typeof client_msg_id === "string", "client_msg_id and body are strings");
    need(/^[\x20-\x7e]{1,36}$/.test(client_msg_id), "client_msg_id is 1 to 36 ASCII characters");
    need(Buffer.byteLength(body) <= LIMITS.body_bytes, `body above ${LIMITS.body_bytes} bytes`, "TOO_LARGE");
    const room = roomOf(session.user, conversation_id), once = `${session.user}/${client_msg_id}`, known = sent.get(once);
    if (known) return { type: "ACK", ...known, duplicate: true, durability: ACK.send };
    const at = Date.now(), seq = room.senders.push(session.user), ack = { message_id: String(++ids), seq, sent_time: at };
    sent.set(once, ack);
    room.at = at;
    push(room.members, room, session, { type: "MESSAGE", conversation_id, ...ack, sender_id: session.user, client_msg_id, body });
    advance(session, room, seq, at, room.cursors.get(session.user).read < seq - 1); // sending implies reading
    return { type: "ACK", ...ack, durability: ACK.send };
  },
  READ(session, { items }) {
    const at = Date.now(), applied = marks(session, items).map(([room, upTo]) => [room, advance(session, room, upTo, at, true)]);
    const results = applied.map(([room, applied]) => {
      const { read, version } = room.cursors.get(session.user), read_time = applied ? at : null;
      return { conversation_id: room.id, applied, read_seq: read, unread: unread(room, session.user), version, read_time };
    });
    return { type: "ACK", items: results, durability: ACK.read };
  },
  DELIVERED(session, { items }) {
    const results = marks(session, items).map(([room, upTo]) => {
      const cursor = room.cursors.get(session.user), applied = upTo > cursor.delivered, peer = peerOf(room, session.user);
      if (applied) cursor.delivered = upTo;
      if (applied && peer) push([peer], room, session, { type: "UPDATE", key: `delivered/${room.id}/${session.user}`,
        value: { up_to_seq: upTo }, version: upTo, at: Date.now(), origin_device: session.device });
      return { conversation_id: room.id, applied, delivered_seq: cursor.delivered };
    });
    return { type: "ACK", items: results, durability: ACK.read };
  },
  STATE({ user }, { conversations, cursor, limit = 100 }) {
    need(limit > 0 && limit <= LIMITS.state_conversations, `limit is 1 to ${LIMITS.state_conversations}`, "TOO_LARGE");
    const own = conversations?.map((id) => roomOf(user, id)) ?? (roomsOf.get(user) ?? []).toSorted((a, b) => b.at - a.at);
    const start = Number(cursor ?? 0), page = conversations ? own : own.slice(start, start + limit), end = start + page.length;
    const states = page.map((room) => {
      const { read, delivered, version } = room.cursors.get(user), peer = peerOf(room, user);
      return { conversation_id: room.id, kind: room.kind, last_seq: room.senders.length, read_seq: read, delivered_seq: delivered,
        unread: unread(room, user), version, ...(peer && { peer_read_seq: room.cursors.get(peer).read }) };
    });
    const more = end < own.length ? { done: false, cursor: String(end) } : { done: true, ...(!conversations && { total_unread: total(user) }) };
    return { type: "STATE_RESULT", conversations: states, change_id: logOf(user).length, ...more };
  },
  SYNC({ user }, { since_change_id: since, limit = LIMITS.sync_changes, detail = "cursors" }) {
    need(since !== undefined && detail === "cursors", "only since_change_id and cursors are offered", "UNSUPPORTED");
    need(limit > 0 && limit <= LIMITS.sync_changes, `limit is 1 to ${LIMITS.sync_changes}`, "TOO_LARGE");
    const log = logOf(user), changes = log.slice(since, since + limit), next = since > log.length ? log.length : since + changes.length;
    const end = { next_change_id: next, done: next === log.length, ...(since > log.length && { reset_required: true }) };
    return { type: "SYNC_RESULT", changed_count: 0, updated_messages: [], changes, ...end, total_unread: total(user), server_time: Date.now() };
  },
  PING: () => ({ type: "PONG", server_time: Date.now() }),
};

function hello(session, { user_id, device_id, token = "", resume }) { // may close the connection: [code, problem]
  if (!/^u\d{1,18}$/.test(user_id) || !isId(device_id)) return [4400, "BAD_REQUEST", "user_id is like u17, device_id 1 to 64 characters"];
  const [claim, signature] = token.split("."), [user, device, expiry] = Buffer.from(claim, "base64url").toString().split("|");
  const good = !secret || (signature === createHmac("sha256", secret).update(claim).digest("hex") && user === user_id && device === device_id && expiry > Date.now() / 1000);
  if (!good) return [4401, "UNAUTHENTICATED", "the token is not good for this user and device"];
  Object.assign(session, { user: user_id, device: device_id });
  const mine = devices.get(user_id) ?? devices.set(user_id, new Map()).get(user_id), older = mine.get(device_id);
  mine.set(device_id, session);
  if (older) leave(older, 4409, "replaced by a newer connection");
}

function leave({ socket }, code, reason) {
  socket.send(JSON.stringify({ type: "GOODBYE", code, reason, retry_ms: 0 }));
  socket.close(code);
}

function receive(session, data) {
  let frame = {}, reply;
  try {
    try { frame = JSON.parse(data); } catch { throw new Refused("BAD_REQUEST", "a frame is one JSON object"); }
    need(typeof frame?.type === "string", "a frame has a type");
    if (!session.user) {
      const problem = frame.type === "HELLO" ? hello(session, frame) : [4400, "BAD_REQUEST", "the first frame is HELLO"];
      if (problem) session.ending = problem[0];
      need(!problem, problem?.[2], problem?.[1]);
      reply = { type: "WELCOME", session_id: String(++ids), epoch: 1, change_id: logOf(session.user).length, server_time: Date.now(), protocol: 1,
        server: { name: "example-node", scheme: "memory", model: "cursor", version: "1" }, ack: ACK, caps: [], limits: LIMITS,
        ...(frame.resume && frame.resume.epoch !== 1 && { reset_required: true }) };
    } else {
      need(Object.hasOwn(answers, frame.type), `${frame.type} is not offered`, "UNSUPPORTED");
      reply = answers[frame.type](session, frame);
    }
  } catch (why) {
    const { code = "INTERNAL", message, current } = why;
    reply = { type: "ERROR", code, message, ...(current && { current }) };
  }
  session.socket.send(JSON.stringify({ ...reply, reply_to: frame?.id ?? "" }));
  if (session.ending) leave(session, session.ending, reply.message);
}

createServer((_, response) => response.writeHead(404).end())
  .on("upgrade", (request, socket, head) => {
    const peer = upgrade(request, socket, head, "readstate.v1", LIMITS.frame_bytes);
    if (!peer) return;
    const session = { socket: peer, keys: new Set() };
    peer.onText = (data) => receive(session, data);
    peer.onClose = () => devices.get(session.user)?.get(session.device) === session && devices.get(session.user).delete(session.device);
  })
  .listen(Number(port ?? 8080), "127.0.0.1", function () { console.error(`serving on ws://127.0.0.1:${this.address().port}/ws`); });
