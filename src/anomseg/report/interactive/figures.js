// Pure figures: rates from counts, masks from levels, components of a mask.

// Rates at threshold number `place` of a detector, from the stored counts.
function ratesAt(detector, place) {
  return rates(detector.tp[place], detector.fp[place], detector.anomaly, detector.inlier);
}

function rates(hits, alarms, anomaly, inlier) {
  const flagged = hits + alarms;
  return {
    tpr: anomaly ? hits / anomaly : null,
    fpr: inlier ? alarms / inlier : null,
    precision: flagged ? hits / flagged : null,
    f1: anomaly ? (2 * hits) / (flagged + anomaly) : null,
    flagged: anomaly + inlier ? flagged / (anomaly + inlier) : null,
  };
}

// The value of a map at a place given as shares of width and height.
function valueAt(map, across, down) {
  const column = Math.min(map.width - 1, Math.floor(across * map.width));
  const row = Math.min(map.height - 1, Math.floor(down * map.height));
  return map.values[row * map.width + column];
}

const VOID_LABEL = 255;
const ANOMALY_LABEL = 1;

// 1 where a level reaches threshold number `place` and the label, where there is one, is not void.
function maskOf(map, place, truth) {
  const mask = new Uint8Array(map.values.length);
  for (let row = 0; row < map.height; row += 1) {
    for (let column = 0; column < map.width; column += 1) {
      const index = row * map.width + column;
      if (map.values[index] <= place) continue;
      const label = truth ? valueAt(truth, (column + 0.5) / map.width, (row + 0.5) / map.height) : 0;
      if (label !== VOID_LABEL) mask[index] = 1;
    }
  }
  return mask;
}

// Rates of one frame from its shown pixels.
function ratesOfFrame(map, place, truth) {
  let hits = 0, alarms = 0, anomaly = 0, inlier = 0;
  for (let row = 0; row < map.height; row += 1) {
    for (let column = 0; column < map.width; column += 1) {
      const label = valueAt(truth, (column + 0.5) / map.width, (row + 0.5) / map.height);
      if (label === VOID_LABEL) continue;
      const flagged = map.values[row * map.width + column] > place;
      if (label === ANOMALY_LABEL) {
        anomaly += 1;
        if (flagged) hits += 1;
      } else {
        inlier += 1;
        if (flagged) alarms += 1;
      }
    }
  }
  return rates(hits, alarms, anomaly, inlier);
}

// 8-connected components of a mask, numbered from 1 in row-major order: {labels, sizes}; sizes[0] is 0.
function componentsOf(mask, width, height) {
  const labels = new Int32Array(mask.length);
  const sizes = [0];
  const stack = [];
  for (let start = 0; start < mask.length; start += 1) {
    if (!mask[start] || labels[start]) continue;
    const label = sizes.length;
    let size = 0;
    labels[start] = label;
    stack.push(start);
    while (stack.length) {
      const place = stack.pop();
      size += 1;
      const row = Math.floor(place / width), column = place % width;
      for (let down = Math.max(0, row - 1); down <= Math.min(height - 1, row + 1); down += 1) {
        for (let across = Math.max(0, column - 1); across <= Math.min(width - 1, column + 1); across += 1) {
          const next = down * width + across;
          if (mask[next] && !labels[next]) {
            labels[next] = label;
            stack.push(next);
          }
        }
      }
    }
    sizes.push(size);
  }
  return { labels, sizes };
}
