// Run inside the page after its own script: works it as a reader would, and leaves what it found in the document.
// SETTINGS is replaced by a threshold's place and by shares of width and height to point at.
const complaints = [];
for (const kind of ["error", "unhandledrejection", "securitypolicyviolation"]) {
  addEventListener(kind, event => complaints.push(`${kind} ${event.message ?? event.reason ?? event.blockedURI}`));
}
(async () => {
  const settings = SETTINGS;
  const id = name => document.getElementById(name), found = {};
  const wait = () => new Promise(done => setTimeout(done, 60));
  const ready = async () => {
    for (let turn = 0; turn < 200 && document.body.dataset.ready !== "yes"; turn++) await wait();
    await wait();
  };
  const drawn = async act => {
    document.body.dataset.ready = "";
    act();
    await ready();
  };
  const names = ["tpr", "fpr", "precision", "f1", "flagged"];
  const told = () => Object.fromEntries(names.map(name => [name, id(`explorer-${name}`).textContent]));
  const red = () => {
    const canvas = id("explorer-photo");
    // A copy is read: reading the canvas itself twice makes the browser complain of us, not of the page.
    const copy = document.createElement("canvas");
    [copy.width, copy.height] = [canvas.width, canvas.height];
    copy.getContext("2d").drawImage(canvas, 0, 0);
    const data = copy.getContext("2d").getImageData(0, 0, copy.width, copy.height).data;
    let count = 0;
    for (let at = 0; at < data.length; at += 4) count += data[at] === 255 && data[at + 1] === 64 && data[at + 2] === 32;
    return count;
  };
  try {
    await ready();
    const slider = id("explorer-threshold");
    found.start = { ...told(), place: Number(slider.value), max: Number(slider.max), red: red() };
    await drawn(() => {
      slider.value = settings.place;
      slider.dispatchEvent(new Event("input"));
    });
    found.moved = { ...told(), red: red(), frame: id("explorer-frame").textContent };
    const canvas = id("explorer-photo");
    canvas.scrollIntoView();
    const box = canvas.getBoundingClientRect();
    found.tips = [];
    for (const [across, down] of settings.points) {
      const place = { clientX: box.left + across * box.width, clientY: box.top + down * box.height };
      canvas.dispatchEvent(new PointerEvent("pointermove", { ...place, bubbles: true }));
      await wait();
      found.tips.push([...id("explorer-tip").children].map(line => line.textContent));
    }
    id("explorer-recall").click();
    await wait();
    found.recall = told();
    await drawn(() => id("explorer-tabs").children[1].click());
    found.other = { ...told(), place: Number(slider.value) };
    found.tabs = [...id("explorer-tabs").children].map(tab => tab.textContent);
    await drawn(() => id("explorer-strip").children[1].click());
    found.second = id("explorer-frame").textContent;
    found.curves = document.querySelectorAll(".chart path.curve").length;
    const table = document.querySelector("table.sortable"), heads = [...table.tHead.rows[0].cells];
    const column = place => [...table.tBodies[0].rows].map(row => row.cells[place].textContent);
    heads[1].click();
    found.falling = column(0);
    heads[1].click();
    found.rising = column(0);
    heads[0].dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
    found.byName = column(0);
  } catch (error) { complaints.push(String(error.stack ?? error)); }
  found.complaints = complaints;
  const check = document.createElement("pre");
  check.id = "check";
  check.textContent = JSON.stringify(found);
  document.body.append(check);
})();
