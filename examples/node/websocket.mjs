// WebSocket (RFC 6455) as a server of text frames needs it; a package such as `ws` would do the same.
import { createHash } from "node:crypto";

const CONTINUATION = 0, TEXT = 1, CLOSE = 8, PING = 9, PONG = 10;

// Answers an upgrade request; null if it did not offer the subprotocol. `onText` and `onClose` are the caller's to set.
export function upgrade(request, socket, head, subprotocol, bytesMax) {
  const offered = (request.headers["sec-websocket-protocol"] ?? "").split(",").map((name) => name.trim());
  const key = request.headers["sec-websocket-key"];
  if (!key || !offered.includes(subprotocol)) {
    socket.end(`HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nexpected the subprotocol ${subprotocol}\n`);
    return null;
  }
  const accept = createHash("sha1").update(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest("base64");
  socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
    `Sec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: ${subprotocol}\r\n\r\n`);
  socket.setNoDelay(true);

  let open = true, pending = head, parts = [];
  const write = (opcode, payload) => open && socket.write(Buffer.concat([header(opcode, payload.length), payload]));
  const peer = {
    onText() {},
    onClose() {},
    send: (text) => write(TEXT, Buffer.from(text)),
    close(code) {
      write(CLOSE, Buffer.from([code >> 8, code & 255]));
      open = false;
      socket.end();
    },
  };
  const receive = (data) => {
    pending = Buffer.concat([pending, data]);
    for (let frame; open && (frame = cut(pending)); pending = pending.subarray(frame.end)) {
      if (!frame.masked || frame.size > bytesMax) return peer.close(frame.masked ? 1009 : 1002);
      if (frame.end > pending.length) return;
      if (frame.opcode === PING) write(PONG, frame.payload);
      else if (frame.opcode === CLOSE) peer.close(frame.payload.length > 1 ? frame.payload.readUInt16BE(0) : 1000);
      else if (frame.opcode === TEXT || frame.opcode === CONTINUATION) {
        parts.push(frame.payload);
        if (frame.final) peer.onText(Buffer.concat(parts.splice(0)).toString());
      } else if (frame.opcode !== PONG) peer.close(1003);
    }
  };
  socket.on("data", receive).on("error", () => {}).on("close", () => { open = false; peer.onClose(); });
  setImmediate(receive, Buffer.alloc(0)); // what came with the request
  return peer;
}

function header(opcode, size) {
  if (size < 126) return Buffer.from([128 | opcode, size]);
  if (size < 65536) return Buffer.from([128 | opcode, 126, size >> 8, size & 255]);
  const long = Buffer.alloc(10);
  long[0] = 128 | opcode, long[1] = 127;
  long.writeBigUInt64BE(BigInt(size), 2);
  return long;
}

// The first frame of the bytes; null while its head is incomplete. The payload is whole when `end` has come.
function cut(bytes) {
  if (bytes.length < 2) return null;
  const masked = bytes[1] > 127, short = bytes[1] & 127;
  const extended = short === 127 ? 8 : short === 126 ? 2 : 0, start = 2 + extended + (masked ? 4 : 0);
  if (bytes.length < start) return null;
  const size = extended === 8 ? Number(bytes.readBigUInt64BE(2)) : extended ? bytes.readUInt16BE(2) : short;
  const payload = Buffer.from(bytes.subarray(start, start + size));
  for (let i = 0; masked && i < payload.length; i++) payload[i] ^= bytes[start - 4 + (i & 3)];
  return { opcode: bytes[0] & 15, final: bytes[0] > 127, masked, size, payload, end: start + size };
}
