// What is kept and who is told: conversations, read cursors and change logs in memory, from a population's file.
// The wire is in server.mjs. A session has `user`, `device` and `tell(users, conversation_id, frame)` (never itself).
import { readFileSync } from "node:fs";

export const LIMITS = { frame_bytes: 65536, batch: 100, body_bytes: 4096, state_conversations: 500, sync_changes: 500 };
export const ACK = { send: "volatile", read: "volatile" };
const rooms = new Map(), roomsOf = new Map(), logs = new Map(), sent = new Map();
let messages = 0;

export function load(path) { // one SEED conversation a line: id, kind, members, length of history, who read how far
  for (const line of readFileSync(path, "utf8").split("\n").filter(Boolean)) {
    const [id, kind, numbers, history, read] = JSON.parse(line);
    const members = numbers.map((number) => `u${number}`);
    const cursors = new Map(members.map((user, i) => [user, { read: read[i], delivered: read[i], version: 0 }]));
    const senders = Array.from({ length: history }, (_, i) => members[i % members.length]); // of message i + 1
    rooms.set(id, { id, kind, members, cursors, senders, newest: 0 });
    for (const user of members) at(roomsOf, user).push(rooms.get(id));
  }
}

export function need(holds, code, message, more) { // or the request is refused with this error
  if (!holds) throw Object.assign(new Error(message), { code, more });
}

const at = (map, key) => map.get(key) ?? map.set(key, []).get(key);
const unread = (room, user) => room.senders.length - room.cursors.get(user).read;
const total = (user) => at(roomsOf, user).reduce((sum, room) => sum + unread(room, user), 0);
const peerOf = ({ kind, members }, user) => (kind === "direct" ? members.find((other) => other !== user) : undefined);
export const changeId = (user) => at(logs, user).length;

function roomOf(user, id) {
  need(typeof id === "string", "BAD_REQUEST", "conversation_id is a string");
  need(rooms.get(id)?.cursors.has(user), "NOT_MEMBER", `${user} is not a member of ${id}`);
  return rooms.get(id);
}

function marks({ user }, items) { // looked at as a whole before any of them is applied
  need(Array.isArray(items) && items.length, "BAD_REQUEST", "items is a list of marks");
  need(items.length <= LIMITS.batch, "TOO_LARGE", `at most ${LIMITS.batch} items`);
  return items.map(({ conversation_id, up_to_seq, message_ids, if_version }) => {
    need(message_ids === undefined && if_version === undefined, "UNSUPPORTED", "only up_to_seq is offered");
    need(Number.isSafeInteger(up_to_seq) && up_to_seq > 0, "BAD_REQUEST", "up_to_seq is 1 or more");
    const room = roomOf(user, conversation_id), last_seq = room.senders.length;
    need(up_to_seq <= last_seq, "SEQ_AHEAD", `${room.id} ends at ${last_seq}`, { current: { last_seq } });
    return [room, up_to_seq];
  });
}

function advance({ user, device, tell }, room, upTo, now, told = true) { // did the read cursor move? never back
  const cursor = room.cursors.get(user), from_seq = cursor.read, version = cursor.version + 1;
  if (upTo <= from_seq) return false;
  Object.assign(cursor, { read: upTo, delivered: Math.max(cursor.delivered, upTo), version });
  if (!told) return true;
  const peer = peerOf(room, user), read = { conversation_id: room.id, actor_id: user, from_seq, up_to_seq: upTo };
  const change = { kind: "read", ...read, version, at: now };
  const log = (whose) => at(logs, whose).push({ change_id: changeId(whose) + 1, ...change });
  const update = (value, more) => ({ type: "UPDATE", key: `read/${room.id}/${user}`, version, at: now,
    value: { up_to_seq: upTo, read_time: now, ...value }, origin_device: device, ...more });
  tell([user], room.id, update({ unread: unread(room, user) }, { change_id: log(user) }));
  if (peer) tell([peer], room.id, update({}, { change_id: log(peer) }));
  else tell([...new Set(room.senders.slice(from_seq, upTo))].filter((one) => one !== user), room.id, update());
  return true;
}

export const answer = {
  SEND(session, { conversation_id, client_msg_id, body }) {
    const { user } = session, sent_time = Date.now(), once = `${user}/${client_msg_id}`, durability = ACK.send;
    need(typeof body === "string" && typeof client_msg_id === "string", "BAD_REQUEST", "body, client_msg_id: strings");
    need(Buffer.byteLength(body) <= LIMITS.body_bytes, "TOO_LARGE", `body above ${LIMITS.body_bytes} bytes`);
    const room = roomOf(user, conversation_id);
    if (sent.has(once)) return { type: "ACK", ...sent.get(once), durability, duplicate: true };
    const message = { message_id: `${++messages}`, seq: room.senders.push(user), sent_time };
    room.newest = sent_time;
    sent.set(once, message);
    const push = { type: "MESSAGE", conversation_id, ...message, sender_id: user, client_msg_id, body };
    session.tell(room.members, room.id, push);
    const behind = room.cursors.get(user).read < message.seq - 1;
    advance(session, room, message.seq, sent_time, behind); // sending implies reading
    return { type: "ACK", ...message, durability };
  },
  READ(session, { items }) {
    const now = Date.now(), { user } = session;
    const moved = marks(session, items).map(([room, upTo]) => [room, advance(session, room, upTo, now)]);
    return { type: "ACK", durability: ACK.read, items: moved.map(([room, applied]) => {
      const { read: read_seq, version } = room.cursors.get(user), read_time = applied ? now : null;
      return { conversation_id: room.id, applied, read_seq, unread: unread(room, user), version, read_time };
    }) };
  },
  DELIVERED({ user, device, tell }, { items }) {
    return { type: "ACK", durability: ACK.read, items: marks({ user }, items).map(([room, upTo]) => {
      const cursor = room.cursors.get(user), applied = upTo > cursor.delivered, peer = peerOf(room, user);
      if (applied) cursor.delivered = upTo;
      if (applied && peer) tell([peer], room.id, { type: "UPDATE", key: `delivered/${room.id}/${user}`,
        value: { up_to_seq: upTo }, version: upTo, at: Date.now(), origin_device: device });
      return { conversation_id: room.id, applied, delivered_seq: cursor.delivered };
    }) };
  },
  STATE({ user }, { conversations: named, cursor = 0, limit = 100 }) {
    need(limit > 0 && limit <= LIMITS.state_conversations, "TOO_LARGE", `limit: 1 to ${LIMITS.state_conversations}`);
    const all = named?.map((id) => roomOf(user, id)) ?? [...at(roomsOf, user)].sort((a, b) => b.newest - a.newest);
    const start = Number(cursor), page = named ? all : all.slice(start, start + limit), end = start + page.length;
    const done = end >= all.length, last = !done ? { cursor: `${end}` } : !named && { total_unread: total(user) };
    return { type: "STATE_RESULT", done, ...last, change_id: changeId(user), conversations: page.map((room) => {
      const { read: read_seq, delivered: delivered_seq, version } = room.cursors.get(user), peer = peerOf(room, user);
      return { conversation_id: room.id, kind: room.kind, last_seq: room.senders.length, read_seq, delivered_seq,
        version, unread: unread(room, user), peer_read_seq: room.cursors.get(peer)?.read };
    }) };
  },
  SYNC({ user }, { since_change_id: since, limit = LIMITS.sync_changes, detail = "cursors" }) {
    need(Number.isSafeInteger(since) && detail === "cursors", "UNSUPPORTED", "only since_change_id, only cursors");
    need(limit > 0 && limit <= LIMITS.sync_changes, "TOO_LARGE", `limit: 1 to ${LIMITS.sync_changes}`);
    const changes = at(logs, user).slice(since, since + limit), last = changeId(user), reset_required = since > last;
    const next_change_id = reset_required ? last : since + changes.length, done = next_change_id === last;
    return { type: "SYNC_RESULT", changes, next_change_id, done, reset_required, total_unread: total(user),
      changed_count: 0, updated_messages: [], server_time: Date.now() };
  },
};
