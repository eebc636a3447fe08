// The page: what the viewer sends, what the user does, and what is to be seen of both.

import {connect, unpack} from "./connection.js";
import {Legend} from "./legend.js";
import {Meters} from "./meters.js";
import {Picture} from "./picture.js";
import {PixelReader} from "./pixel.js";

const PATIENCE = 4000;  // ms without a frame that are nothing special
const PERIOD = 400;  // ms between two updates of the numbers, which nobody could read faster
const OUTDATED = typeof DecompressionStream === "undefined"
  ? "This browser is too old for this page: take Chrome or Edge from 80, Firefox from 113 or Safari from 16.4 on." : "";

const byId = (id) => document.getElementById(id);
const picture = new Picture(byId("picture"));
const legend = new Legend(byId("legend"), () => {
  picture.setColors(legend.colors());
  reader.update();
});
const reader = new PixelReader(picture, legend, byId);
const meters = new Meters();

let connected = false;
let state = null;  // the newest of the viewer's
let chosen = new URLSearchParams(location.hash.slice(1)).get("camera") ?? "";  // empty: the viewer's choice
let lastShown = performance.now();
let unreadable = "";  // why the newest frame is not shown

// Frames. One is asked for when the one before is taken, so that one travels while the other is decoded.

let paused = false;
let stepping = false;  // the next frame is to be shown though the picture is paused
let asked = false;  // for a frame that has not come
let decoding = false;
let next = null;  // a packet that waits

const send = connect({
  open() {
    connected = true;
    if (chosen) send({camera: chosen});
    ask();
    report();
  },
  close() {
    connected = asked = false;
    report();
  },
  state(said) {
    state = said;
    showCameras();
    legend.setLabels(said.labels);
    if (picture.frame !== null) legend.setShares(picture.shares());
    byId("unnamed").hidden = said.labels !== null;
    report();
  },
  packet(buffer) {
    asked = false;
    next = buffer;
    advance();
  },
});

function ask() {
  const wanted = !OUTDATED && (stepping || (!paused && !document.hidden));
  if (!connected || asked || next !== null || !wanted) return;
  asked = true;
  send({next: true});
}

async function advance() {
  if (decoding || next === null || (paused && !stepping)) return;
  const buffer = next;
  const step = stepping;
  next = null;
  stepping = false;
  decoding = true;
  ask();
  try {
    const frame = await unpack(buffer);
    if (frame.camera !== camera()) {  // of the camera before
      frame.picture.close();
      if (step) stepping = true;
    } else if (paused && !step) {  // it came too late, and waits for a step
      frame.picture.close();
      next = buffer;
    } else show(frame);
  } catch (error) {
    console.error("a frame cannot be read", error);
    unreadable = `This browser cannot read the frames: ${error.message}`;
    report();
  }
  decoding = false;
  ask();
  advance();
}

function show(frame) {
  lastShown = performance.now();
  unreadable = "";
  byId("view").style.setProperty("--aspect", frame.width / frame.height);
  picture.show(frame);
  picture.canvas.dataset.camera = frame.camera;
  picture.canvas.dataset.number = frame.number;
  picture.canvas.dataset.stamp = frame.stamp;
  if (!paused) meters.count(frame);
  legend.setShares(picture.shares());
  reader.update();
  byId("snapshot").disabled = false;
  byId("size").textContent = `${frame.width} × ${frame.height}`;
  byId("stamp").textContent = `${frame.stamp.slice(0, -6)} s`;
  report();
}

// What the user does.

function pause(on) {
  paused = on;
  stepping = false;
  meters.restart();
  lastShown = performance.now();
  byId("pause").setAttribute("aria-pressed", on);
  byId("pause").textContent = on ? "Continue" : "Pause";
  report();
  ask();
  advance();
}

function step() {
  if (!paused) pause(true);
  stepping = true;
  ask();
  advance();
}

function snapshot() {
  if (picture.frame === null) return;
  const {camera, stamp} = picture.frame;
  picture.canvas.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${camera.replace(/\W+/g, "_")}_${stamp}.png`.replace(/^_+/, "");
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

byId("pause").addEventListener("click", () => pause(!paused));
byId("step").addEventListener("click", step);
byId("snapshot").addEventListener("click", snapshot);
byId("all").addEventListener("click", () => legend.switchAll(true));
byId("none").addEventListener("click", () => legend.switchAll(false));
byId("opacity").addEventListener("input", setOpacity);
byId("camera").addEventListener("change", ({target}) => {
  chosen = target.value;
  history.replaceState(null, "", `#${new URLSearchParams({camera: chosen})}`);
  next = null;
  meters.restart();
  send({camera: chosen});
  if (paused) step();
  else ask();
  report();
});
document.addEventListener("visibilitychange", ask);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const on = (selector) => event.target instanceof Element && event.target.matches(selector);
  let act = null;
  if (event.key === " " && !on("button, input, select")) act = () => pause(!paused);
  else if (event.key === "ArrowRight" && !on("input[type=range], select")) act = step;
  else if (event.key.toLowerCase() === "s" && !on("select")) act = snapshot;
  else return;
  event.preventDefault();
  if (!event.repeat || act === step) act();  // a key that is held goes on frame by frame, but saves one picture
});

function setOpacity() {
  const opacity = Number(byId("opacity").value);
  byId("percent").textContent = `${Math.round(100 * opacity)} %`;
  picture.setOpacity(opacity);
}

// What is to be seen.

function camera() {
  return chosen || (state?.camera ?? "");
}

function showCameras() {
  const select = byId("camera");
  const names = state.cameras.includes(camera()) || !camera() ? state.cameras : [...state.cameras, camera()];
  if (names.join() !== Array.from(select.options, ({value}) => value).join()) {
    select.replaceChildren(...names.map((name) => new Option(name, name)));
  }
  select.value = camera();
  select.disabled = names.length < 2;
}

function problem() {
  if (OUTDATED) return OUTDATED;
  if (!connected) return state ? "The viewer does not answer: it has ended, or the network is gone. Trying again …"
    : "Connecting to the viewer …";
  if (state === null) return "Connecting to the viewer …";
  if (state.problem) return state.problem;
  if (unreadable) return unreadable;
  if (picture.frame?.camera !== camera()) return `Waiting for the first frame of ${camera()} …`;
  if (!paused && performance.now() - lastShown > PATIENCE) return "No frames at the moment. Waiting …";
  return "";
}

function report() {
  const text = problem();
  if (byId("notice").textContent !== text) byId("notice").textContent = text;
  byId("view").classList.toggle("stale", text !== "" && !paused);
  byId("connection").textContent = connected ? (paused ? "paused" : text ? "waiting" : "live") : "no connection";
  byId("connection").classList.toggle("lost", text !== "");
}

function number(value, digits, unit) {
  return value === null ? "–" : `${value.toFixed(digits)}${unit}`;
}

setInterval(() => {
  report();
  const {shown, offered} = meters.rates();
  byId("shown").textContent = number(shown, 1, "");
  byId("offered").textContent = number(offered, 1, "");
  byId("latency").textContent = number(meters.latency(), 0, " ms");
}, PERIOD);
setOpacity();
