// A server of readstate.v1 in memory, enough to be measured:  node server.js POPULATION [PORT]
const { readFileSync } = require("node:fs");
const { WebSocketServer } = require("ws");

const limits = { frame_bytes: 65536, batch: 100, body_bytes: 4096, state_conversations: 500,
  sync_changes: 500 };
const about = { protocol: 1, epoch: Date.now(), ack: { send: "volatile", read: "volatile" }, limits,
  caps: [], server: { name: "example-node", scheme: "memory", model: "cursor", version: "1" } };
const rooms = new Map(), people = new Map(); // by conversation_id, by user
let sessions = 0;

for (const line of readFileSync(process.argv[2], "utf8").trim().split("\n")) {
  const [id, kind, members, history, read] = JSON.parse(line), users = members.map((n) => `u${n}`);
  const senders = Array.from({ length: history }, (_, i) => users[i % users.length]); // by seq - 1
  const cursors = users.map((user, i) => [user, { read_seq: read[i], delivered_seq: read[i] }]);
  rooms.set(id, { id, kind, users, senders, cursors: new Map(cursors), newest: 0 });
  for (const user of users.filter((one) => !people.has(one)))
    people.set(user, { rooms: [], log: [], sent: new Map(), devices: new Map() });
  for (const user of users) people.get(user).rooms.push(rooms.get(id));
}

const unread = (room, user) => room.senders.length - room.cursors.get(user).read_seq;
const total = (user) => people.get(user).rooms.reduce((sum, room) => sum + unread(room, user), 0);
const peerOf = ({ kind, users }, user) => kind === "direct" && users.find((one) => one !== user);

function need(holds, code, message, more) { // or the request is answered with this error
  if (!holds) throw Object.assign(new Error(message), { code, more });
}

function roomOf(user, id) {
  need(rooms.get(id)?.cursors.has(user), "NOT_MEMBER", `${user} is not a member of ${id}`);
  return rooms.get(id);
}

function shown(room, user) { // a cursor only grows, so it can be its own version
  const { id: conversation_id, kind, senders, cursors } = room, cursor = cursors.get(user);
  return { conversation_id, kind, last_seq: senders.length, ...cursor, version: cursor.read_seq,
    unread: unread(room, user), peer_read_seq: cursors.get(peerOf(room, user))?.read_seq };
}

const say = (socket, frame) => socket.send(JSON.stringify(frame)); // nothing if it is closed

const leave = (socket, code, reason) =>
  (say(socket, { type: "GOODBYE", code, reason, retry_ms: 0 }), socket.close(code));

function tell(me, users, { id }, frame) { // whoever has subscribed, but not who asked
  for (const other of users.flatMap((user) => [...people.get(user).devices.values()]))
    if (other !== me && (other.keys.has("*") || other.keys.has(`conv/${id}`))) say(other, frame);
}

function move(me, what, room, up_to_seq, at) { // a cursor, "read" or "delivered", and never back
  const { user, device } = me, cursor = room.cursors.get(user), from_seq = cursor[`${what}_seq`];
  if (up_to_seq <= from_seq) return false;
  const read = what === "read", peer = peerOf(room, user), version = up_to_seq;
  const others = peer ? [peer] : read ? room.senders.slice(from_seq, up_to_seq) : [];
  const change = { conversation_id: room.id, actor_id: user, from_seq, up_to_seq, version, at };
  cursor.delivered_seq = Math.max(cursor.delivered_seq, up_to_seq); // reading implies delivery
  if (read) cursor.read_seq = up_to_seq;
  for (const whom of new Set(read ? [user, ...others] : others)) {
    const { log } = people.get(whom), own = whom === user && { unread: unread(room, user) };
    const change_id = read && (own || peer) ? log.length + 1 : undefined;
    if (change_id) log.push({ change_id, kind: what, ...change });
    tell(me, [whom], room, { type: "UPDATE", key: `${what}/${room.id}/${user}`, version, change_id,
      value: { up_to_seq, ...own, read_time: read ? at : undefined }, at, origin_device: device });
  }
  return true;
}

const mark = (what) => (me, { items }) => { // all are looked at before any is applied
  need(items.length, "BAD_REQUEST", "items is empty");
  need(items.length <= limits.batch, "TOO_LARGE", `at most ${limits.batch} items`);
  const marks = items.map(({ conversation_id, up_to_seq, message_ids, if_version }) => {
    need(!message_ids && if_version === undefined, "UNSUPPORTED", "only up_to_seq is offered");
    need(Number.isInteger(up_to_seq) && up_to_seq > 0, "BAD_REQUEST", "up_to_seq is 1 or more");
    const room = roomOf(me.user, conversation_id), current = { last_seq: room.senders.length };
    need(up_to_seq <= current.last_seq, "SEQ_AHEAD", "beyond the end", { current });
    return [room, up_to_seq];
  });
  const at = Date.now(), moved = marks.map(([room, seq]) => [room, move(me, what, room, seq, at)]);
  return { type: "ACK", durability: "volatile", items: moved.map(([room, applied]) =>
    ({ ...shown(room, me.user), applied, read_time: applied && what === "read" ? at : null })) };
};

const answers = {
  HELLO(me, { user_id: user, device_id: device, resume }) {
    need(people.has(user), "UNAUTHENTICATED", `nobody knows ${user}`, { close: 4401 });
    const { devices, log } = people.get(user), { epoch = about.epoch } = resume ?? {};
    if (devices.has(device)) leave(devices.get(device), 4409, "replaced by a newer connection");
    devices.set(device, Object.assign(me, { user, device, keys: new Set() }));
    return { type: "WELCOME", ...about, session_id: `${++sessions}`, change_id: log.length,
      reset_required: epoch !== about.epoch, server_time: Date.now() };
  },
  SUB(me, { keys }) {
    need(keys.every((key) => /^(\*|conv\/.+)$/.test(key)), "UNSUPPORTED", "'*' or 'conv/<id>'");
    return { type: "ACK", count: keys.reduce((all, key) => all.add(key), me.keys).size };
  },
  PING: () => ({ type: "PONG", server_time: Date.now() }),
  READ: mark("read"),
  DELIVERED: mark("delivered"),
  SEND(me, { conversation_id, client_msg_id, body }) {
    need(client_msg_id?.length, "BAD_REQUEST", "client_msg_id is missing");
    need(Buffer.byteLength(body) <= limits.body_bytes, "TOO_LARGE", "the body");
    const { user } = me, { sent } = people.get(user), room = roomOf(user, conversation_id);
    if (sent.has(client_msg_id)) return { ...sent.get(client_msg_id), duplicate: true };
    const seq = room.senders.push(user), cursor = room.cursors.get(user), at = Date.now();
    const message = { message_id: `${room.id}/${seq}`, seq, sent_time: room.newest = at };
    sent.set(client_msg_id, { type: "ACK", ...message, durability: "volatile" });
    tell(me, room.users, room,
      { type: "MESSAGE", conversation_id, ...message, sender_id: user, client_msg_id, body });
    if (cursor.read_seq < seq - 1) move(me, "read", room, seq, at); // sending implies reading
    else Object.assign(cursor, { read_seq: seq, delivered_seq: seq }); // one's own: no news
    return sent.get(client_msg_id);
  },
  STATE({ user }, { conversations: named, cursor = 0, limit = 100 }) {
    need(limit <= limits.state_conversations, "TOO_LARGE", "limit");
    const all = named?.map((id) => roomOf(user, id)) ??
      [...people.get(user).rooms].sort((a, b) => b.newest - a.newest);
    const end = named ? all.length : Number(cursor) + limit, done = end >= all.length;
    const last = done ? !named && { total_unread: total(user) } : { cursor: `${end}` };
    return { type: "STATE_RESULT", done, ...last, change_id: people.get(user).log.length,
      conversations: all.slice(Number(cursor), end).map((room) => shown(room, user)) };
  },
  SYNC({ user }, { since_change_id: since, limit = 500, detail = "cursors" }) {
    need(since >= 0 && detail === "cursors", "UNSUPPORTED", "cursors, since a since_change_id");
    need(limit <= limits.sync_changes, "TOO_LARGE", "limit");
    const { log } = people.get(user), changes = log.slice(since, since + limit), end = log.length;
    const next_change_id = Math.min(end, since + changes.length), done = next_change_id === end;
    return { type: "SYNC_RESULT", changes, next_change_id, done, reset_required: since > end,
      total_unread: total(user), changed_count: 0, updated_messages: [], server_time: Date.now() };
  },
};

function answer(me, data) {
  let frame, reply;
  try {
    frame = JSON.parse(data);
    need(me.user || frame.type === "HELLO", "BAD_REQUEST", "HELLO comes first", { close: 4400 });
    need(Object.hasOwn(answers, frame.type), "UNSUPPORTED", `there are ${Object.keys(answers)}`);
    reply = answers[frame.type](me, frame);
  } catch ({ code = "BAD_REQUEST", message, more }) { // without a code: it could not be read
    reply = { type: "ERROR", code, message, ...more };
  }
  say(me, { ...reply, reply_to: frame?.id ?? "" });
  if (reply.close) leave(me, reply.close, reply.message);
}

const place = { host: "127.0.0.1", port: Number(process.argv[3] ?? 8080) };
const server = new WebSocketServer({ ...place, maxPayload: limits.frame_bytes });
server.on("connection", (socket) => {
  socket.on("message", (data) => answer(socket, data));
  socket.on("error", () => {}); // a frame that is too large, say: it is closed with 1009
});
server.on("listening", () => console.error(`on ws://127.0.0.1:${server.address().port}/ws`));
