// A server of readstate.v1 in memory: what one needs to be measured by `bench run --url`, and no more.
//   node server.mjs --population population.jsonl [--port 8080] [--secret SECRET]
import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import { parseArgs } from "node:util";
import { ACK, LIMITS, answer, changeId, load, need } from "./chat.mjs";
import { upgrade } from "./websocket.mjs";

const text = { type: "string" };
const { port, population, secret } = parseArgs({ options: { port: text, population: text, secret: text } }).values;
const SERVER = { name: "example-node", scheme: "memory", model: "cursor", version: "1" };
const EPOCH = 1; // of the change ids: they begin anew with the process
const devices = new Map(); // user -> device -> session
let sessions = 0;

function isGood(token, user, device) {
  const [claim, signature] = token.split("."), signed = createHmac("sha256", secret).update(claim).digest("hex");
  const [forUser, forDevice, expiry] = Buffer.from(claim, "base64url").toString().split("|");
  return signature === signed && forUser === user && forDevice === device && Number(expiry) > Date.now() / 1000;
}

Object.assign(answer, {
  HELLO(session, { user_id, device_id, token = "", resume }) {
    const good = !secret || isGood(token, user_id, device_id);
    need(good, "UNAUTHENTICATED", "the token is not good for this user and device", { close: 4401 });
    if (!devices.has(user_id)) devices.set(user_id, new Map());
    devices.get(user_id).get(device_id)?.leave(4409, "replaced by a newer connection");
    devices.get(user_id).set(device_id, Object.assign(session, { user: user_id, device: device_id }));
    return { type: "WELCOME", session_id: `${++sessions}`, epoch: EPOCH, change_id: changeId(user_id), protocol: 1,
      server_time: Date.now(), server: SERVER, ack: ACK, caps: [], limits: LIMITS,
      reset_required: resume !== undefined && resume.epoch !== EPOCH };
  },
  SUB(session, { keys }) {
    need(Array.isArray(keys), "BAD_REQUEST", "keys is a list");
    need(keys.every((key) => key === "*" || /^conv\/./.test(key)), "UNSUPPORTED", "a key is '*' or 'conv/<id>'");
    for (const key of keys) session.keys.add(key);
    return { type: "ACK", count: session.keys.size };
  },
  PING: () => ({ type: "PONG", server_time: Date.now() }),
});

function receive(session, data) {
  let frame, reply;
  try {
    try { frame = Object(JSON.parse(data)); } catch { need(false, "BAD_REQUEST", "a frame is one JSON object"); }
    need(session.user || frame.type === "HELLO", "BAD_REQUEST", "the first frame is HELLO", { close: 4400 });
    need(!session.user || frame.type !== "HELLO", "BAD_REQUEST", "this session is open already");
    need(Object.hasOwn(answer, frame.type), "UNSUPPORTED", `there are ${Object.keys(answer)}`);
    reply = answer[frame.type](session, frame);
  } catch ({ code = "INTERNAL", message, more }) {
    reply = { type: "ERROR", code, message, ...more };
  }
  session.say({ ...reply, reply_to: frame?.id ?? "" });
  if (reply.close) session.leave(reply.close, reply.message);
}

function open(request, socket, head) {
  const peer = upgrade(request, socket, head, "readstate.v1", LIMITS.frame_bytes);
  if (!peer) return;
  const session = {
    keys: new Set(),
    say: (frame) => peer.send(JSON.stringify(frame)),
    leave(code, reason) {
      session.say({ type: "GOODBYE", code, reason, retry_ms: 0 });
      peer.close(code);
    },
    tell(users, conversation, frame) {
      for (const other of users.flatMap((user) => [...(devices.get(user)?.values() ?? [])]))
        if (other !== session && (other.keys.has("*") || other.keys.has(`conv/${conversation}`))) other.say(frame);
    },
  };
  peer.onText = (data) => receive(session, data);
  peer.onClose = () => {
    const mine = devices.get(session.user);
    if (mine?.get(session.device) === session) mine.delete(session.device);
  };
}

load(population);
createServer((_, response) => response.writeHead(404).end())
  .on("upgrade", open)
  .listen(Number(port ?? 8080), "127.0.0.1", function () {
    console.error(`serving on ws://127.0.0.1:${this.address().port}/ws`);
  });
