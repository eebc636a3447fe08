// The classes: their colours, a switch for each, and how much of the frame they take.

export class Legend {
  /**
   * @param list the element that gets an item for each class.
   * @param onChange called when other classes are to be shown, or in other colours.
   */
  constructor(list, onChange) {
    this.list = list;
    this.onChange = onChange;
    this.labels = null;
    this.hidden = new Set();  // names, so that they stay hidden on other cameras too
    this.items = new Map();  // by id
  }

  /** Take what the viewer says: {classes: [{class_id, class_name, color}], unlabelled}, or null. */
  setLabels(labels) {
    if (JSON.stringify(labels) === JSON.stringify(this.labels)) return;
    this.labels = labels;
    this.items = new Map((labels?.classes ?? []).map((entry) => [entry.class_id, this.item(entry)]));
    this.list.replaceChildren(...Array.from(this.items.values(), ({row}) => row));
    this.apply();
  }

  /** Show all classes, or none. */
  switchAll(on) {
    for (const {entry} of this.items.values()) this.remember(entry.class_name, on);
    this.apply();
  }

  /** Colours by id as `Picture.setColors` takes them: null for what is switched off. */
  colors() {
    const colors = new Array(256).fill(null);
    for (const [id, {entry}] of this.items) if (!this.hidden.has(entry.class_name)) colors[id] = entry.color;
    return colors;
  }

  /** A class's name and colour; colour null if the class is not known. */
  describe(id) {
    const entry = this.items.get(id)?.entry;
    if (entry) return {name: entry.class_name, color: entry.color};
    return {name: id === (this.labels?.unlabelled ?? 255) ? "unlabelled" : `class ${id}`, color: null};
  }

  /** Tell how much each class takes; @param shares by id, 0 to 1. */
  setShares(shares) {
    for (const [id, {share}] of this.items) share.textContent = shares[id] ? percent(shares[id]) : "";
  }

  /** Mark the class of the pixel that is read; null: none. */
  mark(id) {
    for (const [own, {label}] of this.items) label.classList.toggle("here", own === id);
  }

  item(entry) {
    const label = element("label");
    const box = element("input");
    box.type = "checkbox";
    box.addEventListener("change", () => {
      this.remember(entry.class_name, box.checked);
      this.apply();
    });
    const swatch = element("span", "swatch");
    swatch.style.background = css(entry.color);
    const name = element("span", "name");
    name.textContent = entry.class_name;
    const share = element("span", "share");
    label.append(box, swatch, name, share);
    const row = element("li");
    row.append(label);
    return {entry, row, label, box, share};
  }

  remember(name, on) {
    if (on) this.hidden.delete(name);
    else this.hidden.add(name);
  }

  apply() {
    for (const {entry, label, box} of this.items.values()) {
      box.checked = !this.hidden.has(entry.class_name);
      label.classList.toggle("off", !box.checked);
    }
    this.onChange();
  }
}

/** A colour [red, green, blue] as CSS has it. */
export function css(color) {
  return `rgb(${color.join(" ")})`;
}

/** 0 to 1 as a text, with a decimal where it is small. */
export function percent(share) {
  return `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
}

function element(tag, className = "") {
  const made = document.createElement(tag);
  made.className = className;
  return made;
}
