// The shown frames: their masks in thumbnails, one of them large, and what lies under the pointer.

const TRUTH_COLOUR = [0, 229, 255];
const FOUND_COLOUR = [255, 64, 32];
const VIEW_WIDTH = 620;
const THUMB_WIDTH = 132;

function heatTable(text) {
  const table = [];
  for (let place = 0; place < text.length; place += 6) {
    table.push([0, 2, 4].map((offset) => parseInt(text.slice(place + offset, place + offset + 2), 16)));
  }
  return table;
}

function isRim(values, width, height, row, column, inside) {
  for (const [down, across] of [[-1, 0], [1, 0], [0, -1], [0, 1]]) {
    const other = row + down, next = column + across;
    if (other < 0 || next < 0 || other >= height || next >= width) continue;
    if (!inside(values[other * width + next])) return true;
  }
  return false;
}

// A map brought to another size by taking the nearest value.
function resampled(map, width, height) {
  if (map.width === width && map.height === height) return map;
  const values = new Uint8Array(width * height);
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      values[row * width + column] = valueAt(map, (column + 0.5) / width, (row + 0.5) / height);
    }
  }
  return { width, height, values };
}

function mix(pixels, index, colour, weight) {
  for (let channel = 0; channel < 3; channel += 1) {
    pixels[index + channel] = Math.round(pixels[index + channel] * (1 - weight) + colour[channel] * weight);
  }
}

const pixelsOfPhotos = new WeakMap();

// The pixels of a photograph at a size, fresh to draw on; it is read back once for each size.
function pixelsOf(photo, width, height) {
  if (!pixelsOfPhotos.has(photo)) pixelsOfPhotos.set(photo, new Map());
  const sizes = pixelsOfPhotos.get(photo);
  if (!sizes.has(width)) {
    const canvas = element("canvas");
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(photo, 0, 0, width, height);
    sizes.set(width, context.getImageData(0, 0, width, height).data);
  }
  return new ImageData(new Uint8ClampedArray(sizes.get(width)), width, height);
}

// Draws a frame: its photograph or its heat, the mask, the rim of what is truly anomalous.
function drawFrame(canvas, width, { frame, photo, map, truth, place, heat, top, showMask, showTruth }) {
  const height = Math.max(1, Math.round((width * frame.height) / frame.width));
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const picture = pixelsOf(photo, width, height);
  if (!map) {
    context.putImageData(picture, 0, 0);
    return;
  }
  const label = truth ? resampled(truth, width, height) : null;
  const levels = resampled(map, width, height);
  const found = { width, height, values: new Uint8Array(width * height) };
  for (let index = 0; index < found.values.length; index += 1) {
    found.values[index] = levels.values[index] > place && label?.values[index] !== VOID_LABEL ? 1 : 0;
  }
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      const index = row * width + column, pixel = 4 * index;
      const isVoid = label?.values[index] === VOID_LABEL;
      if (heat) mix(picture.data, pixel, heat[Math.min(255, Math.round((255 * levels.values[index]) / top))], 0.85);
      if (isVoid) mix(picture.data, pixel, [255, 255, 255], 0.55);
      if (showMask && found.values[index]) {
        const rim = isRim(found.values, width, height, row, column, (value) => value === 1);
        if (heat) {
          if (rim) mix(picture.data, pixel, [255, 255, 255], 1);
        } else mix(picture.data, pixel, FOUND_COLOUR, rim ? 1 : 0.5);
      }
      if (showTruth && label?.values[index] === ANOMALY_LABEL) {
        if (isRim(label.values, width, height, row, column, (value) => value === ANOMALY_LABEL)) mix(picture.data, pixel, TRUTH_COLOUR, 1);
      }
    }
  }
  context.putImageData(picture, 0, 0);
}

const TRUTH_WORDS = { 0: "inlier", 1: "anomaly", 255: "void" };

// What lies at a place of a frame, as lines of text.
function describePixel({ frame, detector, map, truth, classes, place, components, across, down }) {
  const lines = [];
  const level = valueAt(map, across, down);
  const low = level > 0 ? short(detector.thresholds[level - 1]) : null;
  const high = level < detector.thresholds.length ? short(detector.thresholds[level]) : null;
  if (low === null) lines.push(`score below ${high}`);
  else lines.push(high === null ? `score at least ${low}` : low === high ? `score ${low}` : `score ${low} to ${high}`);
  if (classes) {
    const index = valueAt(classes, across, down);
    lines.push(`class ${detector.classes?.[index] ?? index}`);
  }
  if (truth) lines.push(`truth: ${TRUTH_WORDS[valueAt(truth, across, down)] ?? "void"}`);
  const label = valueAt({ ...map, values: components.labels }, across, down);
  if (label) {
    const area = (components.sizes[label] * frame.width * frame.height) / (map.width * map.height);
    lines.push(`component ${label} of ${components.sizes.length - 1}: about ${thousands(area)} pixels`);
  } else lines.push(map.values.length && level > place ? "void, in no component" : "below the threshold");
  return lines;
}
