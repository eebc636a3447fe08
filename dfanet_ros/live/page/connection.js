// The WebSocket to the viewer, which comes back by itself, and what its packets hold.

const RETRY = 1000;  // ms from a lost connection to the next attempt
const SILENCE = 6000;  // ms; the viewer says something every 2 seconds, so after these it has gone
const UTF8 = new TextDecoder();

/**
 * Keeps a connection.
 * @param on.open called when there is one.
 * @param on.state gets what the viewer says: {cameras, camera, labels, problem}.
 * @param on.packet gets each packet, an ArrayBuffer.
 * @param on.close called when it is lost.
 * @returns what sends a command, or drops it while there is no connection.
 */
export function connect(on) {
  let socket = null;
  let watchdog = 0;

  function attempt() {
    const own = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/stream`);
    own.binaryType = "arraybuffer";
    socket = own;
    own.onopen = () => { listen(); on.open(); };
    own.onmessage = ({data}) => {
      listen();
      if (typeof data === "string") on.state(JSON.parse(data));
      else on.packet(data);
    };
    own.onclose = lost;
    listen();
  }

  function listen() {
    clearTimeout(watchdog);
    watchdog = setTimeout(lost, SILENCE);
  }

  function lost() {
    if (socket === null) return;
    clearTimeout(watchdog);
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    socket = null;
    on.close();
    setTimeout(attempt, RETRY);
  }

  attempt();
  return (command) => {
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(command));
  };
}

/**
 * Reads a packet (see packets.py).
 * @returns its header, and `picture` (ImageBitmap), `ids` and `confidence` (Uint8Array, a byte a pixel, row by row;
 *     confidence is null if the node publishes none).
 */
export async function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(UTF8.decode(new Uint8Array(buffer, 4, length)));
  const start = 4 + length;
  const picture = new Blob([new Uint8Array(buffer, start, header.picture_bytes)]);
  const deflated = new Blob([new Uint8Array(buffer, start + header.picture_bytes, header.planes_bytes)]);
  const inflated = deflated.stream().pipeThrough(new DecompressionStream("deflate"));
  const [bitmap, bytes] = await Promise.all([createImageBitmap(picture), new Response(inflated).arrayBuffer()]);
  const planes = new Uint8Array(bytes);
  const {width, height} = header;
  for (let i = width; i < planes.length; i++) planes[i] += planes[i - width];
  const pixels = width * height;
  return {
    ...header,
    picture: bitmap,
    ids: planes.subarray(0, pixels),
    confidence: header.planes.length > 1 ? planes.subarray(pixels) : null,
  };
}
