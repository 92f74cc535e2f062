// The explorer: a detector and a threshold are chosen, and every figure, curve and mask follows.

const state = { detector: 0, place: 0, frame: 0, mask: true, truth: true, maps: [], token: 0, movers: [] };
const cached = { photos: new Map(), truths: new Map(), classes: new Map(), components: { key: "", value: null } };
let report = null;
let heat = null;

function startExplorer() {
  const data = byId("explorer-data");
  if (!data) return;
  report = JSON.parse(data.textContent);
  heat = heatTable(report.heat);
  report.detectors.forEach((detector, index) => {
    const tab = element("button", { type: "button", "aria-pressed": "false" });
    const swatch = element("span", { class: "swatch" });
    swatch.style.background = detector.colour;
    tab.append(swatch, detector.name);
    tab.addEventListener("click", () => chooseDetector(index));
    byId("explorer-tabs").append(tab);
  });
  const slider = byId("explorer-threshold");
  slider.addEventListener("input", () => moveTo(Number(slider.value)));
  byId("explorer-best").addEventListener("click", () => moveTo(report.detectors[state.detector].best_f1));
  byId("explorer-recall").addEventListener("click", () => moveTo(report.detectors[state.detector].recall95));
  if (report.frames.length) startFrames();
  chooseDetector(0);
}

function startFrames() {
  report.frames.forEach((frame, index) => {
    const thumb = element("button", { type: "button", title: frame.id, "aria-pressed": "false" });
    thumb.append(element("canvas", { "aria-label": frame.id }));
    thumb.addEventListener("click", () => chooseFrame(index));
    byId("explorer-strip").append(thumb);
  });
  for (const [id, key] of [["explorer-show-mask", "mask"], ["explorer-show-truth", "truth"]]) {
    byId(id).addEventListener("change", (event) => {
      state[key] = event.target.checked;
      redraw();
    });
  }
  for (const id of ["explorer-photo", "explorer-heat"]) {
    const canvas = byId(id);
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      hover((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height, event.clientX, event.clientY);
    });
    canvas.addEventListener("pointerleave", () => byId("explorer-tip").hidden = true);
  }
}

function chooseDetector(index) {
  state.detector = index;
  const detector = report.detectors[index];
  [...byId("explorer-tabs").children].forEach((tab, other) => tab.setAttribute("aria-pressed", String(other === index)));
  byId("explorer-threshold").max = detector.thresholds.length - 1;
  drawCharts();
  moveTo(detector.best_f1);
  loadMaps();
}

async function loadMaps() {
  state.token += 1;
  const token = state.token;
  state.maps = [];
  const found = await Promise.all(report.frames.map(async (frame, index) => {
    if (!cached.photos.has(index)) cached.photos.set(index, await loadPicture(frame.photo));
    if (frame.truth && !cached.truths.has(index)) cached.truths.set(index, await loadLevels(frame.truth));
    const map = frame.maps[state.detector];
    return map ? loadLevels(map.levels) : null;
  }));
  if (token !== state.token) return;
  state.maps = found;
  redraw();
}

function chooseFrame(index) {
  state.frame = index;
  redraw();
}

// The slider goes to a threshold: figures now, pictures once for all that is moved until then.
function moveTo(place) {
  state.place = place;
  const detector = report.detectors[state.detector], threshold = detector.thresholds[place];
  byId("explorer-threshold").value = place;
  byId("explorer-value").textContent = short(threshold);
  const found = ratesAt(detector, place);
  for (const name of ["tpr", "fpr", "precision", "f1", "flagged"]) {
    const digits = name === "fpr" || name === "flagged" ? 4 : 3;
    byId(`explorer-${name}`).textContent = decimals(found[name], digits);
  }
  for (const move of state.movers) move(found, threshold);
  redraw();
}

function drawCharts() {
  const detectors = report.detectors, chosen = state.detector, detector = detectors[chosen];
  const at = (one, up, across) => one.thresholds.map((_, place) => {
    const found = ratesAt(one, place);
    return [found[across], found[up] ?? 0];
  });
  const precision = detectors.map((one) => ({ ...one, points: at(one, "precision", "tpr") }));
  const receiver = detectors.map((one) => ({ ...one, points: [...at(one, "tpr", "fpr"), [0, 0]] }));
  const prevalence = detector.anomaly / (detector.anomaly + detector.inlier);
  const movePrecision = unitChart(byId("chart-pr"), {
    acrossName: "recall", upName: "precision", curves: precision, chosen, level: prevalence,
    levelText: `prevalence ${short(prevalence)}`, steps: false,
  });
  const moveReceiver = unitChart(byId("chart-roc"), {
    acrossName: "false positive rate", upName: "true positive rate", curves: receiver, chosen, level: 0.95, levelText: "0.95", steps: false,
  });
  const bins = detector.histogram, domain = [bins.edges[0], bins.edges[bins.edges.length - 1]];
  const points = detector.thresholds.map((threshold, place) => [threshold, ratesAt(detector, place).f1]);
  const moveF1 = thresholdChart(byId("chart-f1"), { points, colour: detector.colour, domain, margin: detector.margin });
  const moveBins = histogramChart(byId("chart-histogram"), bins);
  state.movers = [
    (found, threshold) => {
      movePrecision([found.tpr, found.precision ?? 0]);
      moveReceiver([found.fpr, found.tpr]);
      moveF1(threshold);
      moveBins(threshold);
    },
  ];
  const sizes = byId("chart-sizes");
  if (sizes) sizeChart(sizes, { groups: report.sizes, detectors, chosen, names: detectors.map((one) => one.name) });
}

let waiting = false;

function redraw() {
  if (waiting || !report.frames.length) return;
  waiting = true;
  setTimeout(() => {
    waiting = false;
    drawFrames();
  }, 0);
}

function part(index) {
  const detector = report.detectors[state.detector];
  return {
    frame: report.frames[index],
    photo: cached.photos.get(index),
    map: state.maps[index],
    truth: cached.truths.get(index),
    place: state.place,
    top: detector.thresholds.length,
    showMask: state.mask,
    showTruth: state.truth,
  };
}

function drawFrames() {
  if (!state.maps.length) return;
  [...byId("explorer-strip").children].forEach((thumb, index) => {
    thumb.setAttribute("aria-pressed", String(index === state.frame));
    drawFrame(thumb.firstChild, THUMB_WIDTH, part(index));
  });
  const chosen = part(state.frame);
  drawFrame(byId("explorer-photo"), VIEW_WIDTH, chosen);
  drawFrame(byId("explorer-heat"), VIEW_WIDTH, { ...chosen, heat });
  byId("explorer-tip").hidden = true;
  tellFrame(chosen);
  document.body.dataset.ready = "yes";
}

function tellFrame({ frame, map, truth, place }) {
  const ap = frame.ap[state.detector];
  const told = [frame.id];
  if (ap !== null) told.push(`AP ${decimals(ap)}`);
  if (map && truth) {
    const found = ratesOfFrame(map, place, truth);
    told.push(`at this threshold TPR ${decimals(found.tpr)}, FPR ${decimals(found.fpr)}, F1 ${decimals(found.f1)} of the shown pixels`);
  }
  if (!map) told.push("this detector has no map of it");
  byId("explorer-frame").textContent = told.join("  \u00b7  ");
}

async function classesOf(index) {
  const place = report.frames[index].maps[state.detector]?.classes;
  if (place === null || place === undefined) return null;
  const key = `${index} ${place}`;
  if (!cached.classes.has(key)) cached.classes.set(key, await loadLevels(report.frames[index].classes[place]));
  return cached.classes.get(key);
}

async function hover(across, down, left, top) {
  const index = state.frame, { frame, map, truth, place } = part(index);
  const tip = byId("explorer-tip");
  if (!map || across < 0 || down < 0 || across >= 1 || down >= 1) {
    tip.hidden = true;
    return;
  }
  const classes = await classesOf(index);
  const key = `${state.detector} ${index} ${place}`;
  if (cached.components.key !== key) {
    cached.components = { key, value: componentsOf(maskOf(map, place, truth), map.width, map.height) };
  }
  const detector = report.detectors[state.detector], components = cached.components.value;
  const lines = describePixel({ frame, detector, map, truth, classes, place, components, across, down });
  tip.replaceChildren(...lines.map((line) => element("div", {}, line)));
  tip.hidden = false;
  tip.style.left = `${Math.min(left + 16, window.innerWidth - 260)}px`;
  tip.style.top = `${Math.min(top + 16, window.innerHeight - 110)}px`;
}
