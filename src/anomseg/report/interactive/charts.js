// Line charts and histograms as SVG. Colours come from the style sheet, except those of detectors.

const CHART = { width: 400, height: 300, left: 64, right: 12, top: 10, bottom: 40 };

function scaleOf(domain, range) {
  const [low, high] = domain;
  const span = high - low || 1;
  return (value) => range[0] + ((value - low) / span) * (range[1] - range[0]);
}

// About `count` round numbers within a domain.
function ticksOf([low, high], count = 5) {
  const rough = (high - low) / count;
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  const ticks = [];
  for (let index = Math.ceil(low / step - 1e-9); index * step <= high + 1e-9 * step; index += 1) ticks.push(index * step);
  return ticks;
}

function tickText(value) {
  return value === 0 ? "0" : short(Number(value.toPrecision(6)));
}

// Empties an SVG, draws its axes, and gives the scales and the group to draw in.
function axes(svg, { across, up, acrossName, upName, acrossTicks, upTicks, upText = tickText }) {
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${CHART.width} ${CHART.height}`);
  const right = CHART.width - CHART.right, bottom = CHART.height - CHART.bottom;
  const x = scaleOf(across, [CHART.left, right]), y = scaleOf(up, [bottom, CHART.top]);
  for (const tick of acrossTicks ?? ticksOf(across)) {
    svg.append(svgElement("line", { class: "grid", x1: x(tick), x2: x(tick), y1: CHART.top, y2: bottom }));
    svg.append(svgElement("text", { x: x(tick), y: bottom + 15, "text-anchor": "middle" }, tickText(tick)));
  }
  for (const tick of upTicks ?? ticksOf(up)) {
    svg.append(svgElement("line", { class: "grid", x1: CHART.left, x2: right, y1: y(tick), y2: y(tick) }));
    svg.append(svgElement("text", { x: CHART.left - 6, y: y(tick) + 4, "text-anchor": "end" }, upText(tick)));
  }
  svg.append(svgElement("path", { class: "axis", d: `M${CHART.left},${CHART.top}V${bottom}H${right}` }));
  const middle = (CHART.left + right) / 2, height = (CHART.top + bottom) / 2;
  svg.append(svgElement("text", { class: "name", x: middle, y: CHART.height - 6, "text-anchor": "middle" }, acrossName));
  const turned = { class: "name", x: 0, y: 0, "text-anchor": "middle", transform: `translate(13 ${height}) rotate(-90)` };
  svg.append(svgElement("text", turned, upName));
  return { x, y, bottom, right };
}

function pathOf(points, x, y, steps = false) {
  return points
    .map(([across, up], index) => {
      const place = `${x(across).toFixed(2)},${y(up).toFixed(2)}`;
      if (index === 0) return `M${place}`;
      return steps ? `V${y(up).toFixed(2)}H${x(across).toFixed(2)}` : `L${place}`;
    })
    .join("");
}

// Curves of all detectors in the unit square; the chosen one lies on top, with a dot at the threshold.
function unitChart(svg, { acrossName, upName, curves, chosen, level, levelText, steps }) {
  const frame = axes(svg, { across: [0, 1], up: [0, 1], acrossName, upName });
  if (level !== null && level !== undefined) {
    const height = frame.y(level);
    svg.append(svgElement("line", { class: "level", x1: CHART.left, x2: frame.right, y1: height, y2: height }));
    const place = { x: frame.right - 4, y: height > 30 ? height - 4 : height + 13, "text-anchor": "end" };
    svg.append(svgElement("text", place, levelText));
  }
  const order = curves.map((_, index) => index).sort((one, other) => (one === chosen) - (other === chosen));
  for (const index of order) {
    const attributes = { class: index === chosen ? "curve chosen" : "curve", d: pathOf(curves[index].points, frame.x, frame.y, steps) };
    const path = svgElement("path", attributes);
    path.style.stroke = curves[index].colour;
    path.append(svgElement("title", {}, curves[index].name));
    svg.append(path);
  }
  const dot = svgElement("circle", { class: "dot", r: 5 });
  dot.style.fill = curves[chosen].colour;
  svg.append(dot);
  return ([across, up]) => {
    dot.setAttribute("cx", frame.x(across));
    dot.setAttribute("cy", frame.y(up));
  };
}

// F1 against the threshold, its margin shaded; gives the function that moves the threshold's line.
function thresholdChart(svg, { points, colour, domain, margin }) {
  const frame = axes(svg, { across: domain, up: [0, 1], acrossName: "threshold of the score", upName: "F1" });
  const inside = points.filter(([across]) => across >= domain[0] && across <= domain[1]);
  if (margin) {
    const left = margin.low === null ? CHART.left : Math.max(frame.x(margin.low), CHART.left);
    const right = margin.high === null ? frame.right : Math.min(frame.x(margin.high), frame.right);
    const box = { class: "margin", x: left, y: CHART.top, width: Math.max(1, right - left), height: frame.bottom - CHART.top };
    svg.append(svgElement("rect", box));
    const height = frame.y(margin.quality);
    svg.append(svgElement("line", { class: "level", x1: CHART.left, x2: frame.right, y1: height, y2: height }));
    svg.append(svgElement("text", { x: frame.right - 4, y: height - 4, "text-anchor": "end" }, `quality ${margin.quality}`));
  }
  const path = svgElement("path", { class: "curve chosen", d: pathOf(inside, frame.x, frame.y) });
  path.style.stroke = colour;
  svg.append(path);
  return thresholdLine(svg, frame, domain);
}

const LOWEST_SHARE = 1e-5;

// Shares of inlier and of anomalous pixels by score, on a logarithmic scale.
function histogramChart(svg, { edges, inlier, anomaly }) {
  const domain = [edges[0], edges[edges.length - 1]];
  const logarithm = (share) => Math.log10(Math.max(share, LOWEST_SHARE));
  const frame = axes(svg, {
    across: domain,
    up: [Math.log10(LOWEST_SHARE), 0],
    upTicks: [-5, -4, -3, -2, -1, 0],
    upText: (tick) => (tick === 0 ? "100 %" : `${10 ** (tick + 2)} %`.replace("0.0010 %", "0.001 %")),
    acrossName: "score",
    upName: "share of its pixels",
  });
  for (const [counts, kind] of [[inlier, "inlier"], [anomaly, "anomaly"]]) {
    const total = counts.reduce((sum, count) => sum + count, 0) || 1;
    let outline = `M${frame.x(edges[0])},${frame.bottom}`;
    counts.forEach((count, bin) => {
      outline += `V${frame.y(logarithm(count / total)).toFixed(2)}H${frame.x(edges[bin + 1]).toFixed(2)}`;
    });
    svg.append(svgElement("path", { class: `bars ${kind}`, d: `${outline}V${frame.bottom}Z` }));
    const place = { class: `word ${kind}`, x: frame.right - 4, y: kind === "inlier" ? 22 : 37, "text-anchor": "end" };
    svg.append(svgElement("text", place, kind));
  }
  return thresholdLine(svg, frame, domain);
}

function thresholdLine(svg, frame, domain) {
  const line = svgElement("line", { class: "threshold", y1: CHART.top, y2: frame.bottom });
  svg.append(line);
  return (threshold) => {
    const place = frame.x(Math.min(Math.max(threshold, domain[0]), domain[1]));
    line.setAttribute("x1", place);
    line.setAttribute("x2", place);
  };
}

// AP of objects by size, all detectors side by side; the chosen one is drawn strong.
function sizeChart(svg, { groups, detectors, chosen, names }) {
  const highest = Math.max(0.05, ...detectors.flatMap((one) => (one.sizes ?? []).map((size) => size.ap ?? 0)));
  const up = [0, Math.min(1, highest * 1.1)];
  const frame = axes(svg, { across: [0, groups.length], up, acrossTicks: [], acrossName: "share of the image that an object covers", upName: "AP" });
  const wide = frame.x(1) - frame.x(0);
  const bar = (wide * 0.84) / detectors.length;
  groups.forEach((name, group) => {
    const start = frame.x(group) + wide * 0.08;
    svg.append(svgElement("text", { x: start + wide * 0.42, y: frame.bottom + 15, "text-anchor": "middle" }, name));
    detectors.forEach((detector, index) => {
      const ap = detector.sizes?.[group]?.ap;
      if (ap === null || ap === undefined) return;
      const top = frame.y(ap);
      const box = { x: start + index * bar, y: top, width: Math.max(1, bar - 1), height: Math.max(0.5, frame.bottom - top) };
      const rectangle = svgElement("rect", { class: index === chosen ? "size chosen" : "size", ...box });
      rectangle.style.fill = detector.colour;
      rectangle.append(svgElement("title", {}, `${names[index]}: AP ${decimals(ap)}`));
      svg.append(rectangle);
    });
    const chance = detectors[chosen].sizes?.[group]?.chance;
    if (chance !== null && chance !== undefined) {
      const height = frame.y(Math.min(chance, up[1]));
      svg.append(svgElement("line", { class: "level", x1: start, x2: start + wide * 0.84, y1: height, y2: height }));
    }
  });
}
