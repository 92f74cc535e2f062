// Small helpers: elements, numbers as text, pictures out of data URLs.

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";

function byId(id) {
  return document.getElementById(id);
}

function element(name, attributes = {}, text = "") {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== "") made.textContent = text;
  return made;
}

function svgElement(name, attributes = {}, text = "") {
  const made = document.createElementNS(SVG_NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== "") made.textContent = text;
  return made;
}

// A number with about four telling digits, whatever its size.
function short(value) {
  if (value === null || !Number.isFinite(value)) return "-";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

function decimals(value, digits = 3) {
  return value === null || !Number.isFinite(value) ? "-" : value.toFixed(digits);
}

function thousands(value) {
  return Math.round(value).toLocaleString("en").replaceAll(",", "\u202f");
}

function loadPicture(source) {
  return new Promise((done, fail) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => fail(new Error("a picture of this report is damaged"));
    image.src = source;
  });
}

// The grey levels of a picture: {width, height, values}, one byte a pixel.
async function loadLevels(source) {
  const image = await loadPicture(source);
  const canvas = element("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const colours = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const values = new Uint8Array(canvas.width * canvas.height);
  for (let place = 0; place < values.length; place += 1) values[place] = colours[4 * place];
  return { width: canvas.width, height: canvas.height, values };
}
