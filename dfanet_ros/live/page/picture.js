// The frame and, over it, the colours of its classes, on a canvas of the frame's size.

export class Picture {
  /** @param canvas what is drawn on; it holds nothing but frame and colours. */
  constructor(canvas) {
    this.canvas = canvas;
    this.frame = null;  // as `unpack` gives it
    this.opacity = 1;
    this.table = new Uint32Array(256);  // by id: red, green, blue, alpha as bytes in memory; 0 is not shown
    this.colors = document.createElement("canvas");
  }

  /** Show a frame; the one before is freed. */
  show(frame) {
    this.frame?.picture.close();
    this.frame = frame;
    for (const canvas of [this.canvas, this.colors]) {
      if (canvas.width !== frame.width || canvas.height !== frame.height) {
        canvas.width = frame.width;
        canvas.height = frame.height;
      }
    }
    this.paint();
  }

  /** How much of the picture is colour, 0 to 1. */
  setOpacity(opacity) {
    this.opacity = opacity;
    this.draw();
  }

  /** @param colors an array of [red, green, blue], or null where the frame is to be seen, by id. */
  setColors(colors) {
    const bytes = new Uint8Array(this.table.buffer);
    bytes.fill(0);
    colors.forEach((color, id) => color && bytes.set([...color, 255], 4 * id));
    this.paint();
  }

  /** What is at a pixel: {id, confidence}, the latter 0 to 1 or null; null if there is nothing. */
  at(x, y) {
    const frame = this.frame;
    if (frame === null || x < 0 || y < 0 || x >= frame.width || y >= frame.height) return null;
    const index = y * frame.width + x;
    return {id: frame.ids[index], confidence: frame.confidence ? frame.confidence[index] / 255 : null};
  }

  /** The share of each id in the frame, 0 to 1, by id. */
  shares() {
    const counts = new Uint32Array(256);
    const ids = this.frame?.ids ?? [];
    for (let i = 0; i < ids.length; i++) counts[ids[i]]++;
    return Array.from(counts, (count) => count / ids.length);
  }

  paint() {
    const {frame, table} = this;
    if (frame === null) return;
    const context = this.colors.getContext("2d");
    const image = context.createImageData(frame.width, frame.height);
    const pixels = new Uint32Array(image.data.buffer);
    for (let i = 0; i < pixels.length; i++) pixels[i] = table[frame.ids[i]];
    context.putImageData(image, 0, 0);
    this.draw();
  }

  draw() {
    if (this.frame === null) return;
    const {width, height} = this.canvas;
    const context = this.canvas.getContext("2d");
    context.globalAlpha = 1;
    context.drawImage(this.frame.picture, 0, 0, width, height);
    context.globalAlpha = this.opacity;
    context.drawImage(this.colors, 0, 0);
  }
}
