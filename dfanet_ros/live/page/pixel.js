// What a pixel is: of the pinned one in the panel, of the one under the mouse beside it.

import {css, percent} from "./legend.js";

const NARROW = 0.65;  // of the width; right of it the tip stands on the mouse's left

export class PixelReader {
  /**
   * @param picture a Picture.
   * @param legend a Legend.
   * @param byId gives the page's elements.
   */
  constructor(picture, legend, byId) {
    this.picture = picture;
    this.legend = legend;
    this.byId = byId;
    this.pinned = null;  // [x, y] as shares of width and height, so that it stays where it is if the size changes
    this.hovered = null;
    const canvas = picture.canvas;
    canvas.addEventListener("click", (event) => {
      this.pinned = place(event, canvas);
      this.update();
    });
    canvas.addEventListener("pointermove", (event) => {
      this.hovered = event.pointerType === "mouse" ? place(event, canvas) : null;
      this.update();
    });
    canvas.addEventListener("pointerleave", () => {
      this.hovered = null;
      this.update();
    });
  }

  /** Read again: there is another frame, another place or another legend. */
  update() {
    this.showPinned();
    this.showHovered();
  }

  showPinned() {
    const {byId, legend} = this;
    const found = this.read(this.pinned);
    byId("pixel").hidden = byId("pin").hidden = found === null;
    byId("unpinned").hidden = found !== null;
    legend.mark(found?.id ?? null);
    if (found === null) return;
    put(byId("pin"), this.pinned);
    const {name, color} = legend.describe(found.id);
    setText(byId("pixel-class"), name);  // only if it is another: screen readers say it then
    byId("pixel-swatch").style.background = color ? css(color) : "";
    byId("pixel-id").textContent = found.id;
    byId("pixel-position").textContent = `${found.x}, ${found.y}`;
    byId("pixel-confidence").textContent = found.confidence === null ? "not published" : percent(found.confidence);
    byId("pixel-meter").hidden = found.confidence === null;
    byId("pixel-meter").value = found.confidence ?? 0;
  }

  showHovered() {
    const tip = this.byId("tip");
    const found = this.read(this.hovered);
    tip.hidden = found === null;
    if (found === null) return;
    put(tip, this.hovered);
    tip.classList.toggle("left", this.hovered[0] > NARROW);
    const confidence = found.confidence === null ? "" : ` ${percent(found.confidence)}`;
    setText(tip, this.legend.describe(found.id).name + confidence);
  }

  read(place) {
    if (place === null) return null;
    const {width, height} = this.picture.canvas;
    const x = Math.min(Math.floor(place[0] * width), width - 1);
    const y = Math.min(Math.floor(place[1] * height), height - 1);
    const found = this.picture.at(x, y);
    return found && {x, y, ...found};
  }
}

function place(event, canvas) {
  const box = canvas.getBoundingClientRect();
  const share = (value, size) => Math.min(Math.max(value / size, 0), 1);
  return [share(event.clientX - box.left, box.width), share(event.clientY - box.top, box.height)];
}

function put(element, [x, y]) {
  element.style.left = `${100 * x}%`;
  element.style.top = `${100 * y}%`;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
