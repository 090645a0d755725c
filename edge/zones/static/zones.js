// Rectangles and polygons are drawn over a picture; Save sends them to the command that serves this page.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const by = (id) => document.getElementById(id);
  const drawing = by("drawing"), list = by("list"), told = by("told");
  let sheet = { width: 1, height: 1 }, zones = [], tool = "rectangle", begun = [], chosen = -1, changed = false;

  const tell = (text, mood = "") => { told.textContent = text; told.className = mood; };
  const at = (event) => {
    const box = drawing.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * sheet.width, y = (event.clientY - box.top) / box.height * sheet.height;
    const within = (value, most) => Math.round(Math.min(Math.max(value, 0), most) * 10) / 10;
    return [within(x, sheet.width), within(y, sheet.height)];
  };
  const corners = ([[a, b], [c, d]]) => {
    const [x0, x1, y0, y1] = [Math.min(a, c), Math.max(a, c), Math.min(b, d), Math.max(b, d)];
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
  };
  const shape = (name, points, kind) => {
    const element = document.createElementNS(SVG, name);
    element.setAttribute("points", points.map((point) => point.join(",")).join(" "));
    element.setAttribute("class", kind);
    return element;
  };
  const show = () => {
    const drawn = zones.map((zone, index) => shape("polygon", zone.points, `${zone.ignore ? "ignored" : ""} ${index === chosen ? "chosen" : ""}`));
    if (begun.length > 1) drawn.push(tool === "rectangle" ? shape("polygon", corners(begun), "") : shape("polyline", begun, ""));
    drawing.replaceChildren(...drawn);
    by("how").textContent = tool === "rectangle" ? "Drag from one corner to the other." : "Click each corner; Enter or a double click ends it, Escape gives up.";
  };
  const rows = () => {
    list.replaceChildren(...zones.map((zone, index) => {
      const row = document.createElement("li"), name = document.createElement("input");
      const label = document.createElement("label"), ignore = document.createElement("input"), away = document.createElement("button");
      name.value = zone.name; name.maxLength = 64; name.setAttribute("aria-label", `Name of zone ${index + 1}`);
      name.addEventListener("input", () => { zone.name = name.value; changed = true; });
      name.addEventListener("focus", () => { chosen = index; show(); });
      ignore.type = "checkbox"; ignore.checked = zone.ignore;
      ignore.addEventListener("change", () => { zone.ignore = ignore.checked; changed = true; show(); });
      label.append(ignore, " ignored");
      away.textContent = "Remove"; away.setAttribute("aria-label", `Remove ${zone.name}`);
      away.addEventListener("click", () => { zones.splice(index, 1); chosen = -1; changed = true; rows(); show(); });
      row.append(name, label, away);
      return row;
    }));
  };
  const add = (points) => {
    let number = zones.length + 1;
    while (zones.some((zone) => zone.name === `zone-${number}`)) number += 1;
    zones.push({ name: `zone-${number}`, points, ignore: false, rectangle: tool === "rectangle" });
    chosen = zones.length - 1; begun = []; changed = true;
    tell(""); rows(); show();
    list.lastElementChild.querySelector("input").focus();
  };
  const close = () => {
    const points = begun.filter((point, index) => index === 0 || String(point) !== String(begun[index - 1]));
    if (points.length < 3) { tell("A polygon has three corners at least.", "bad"); return; }
    add(points);
  };
  const take = (name) => {
    tool = name; begun = [];
    for (const id of ["rectangle", "polygon"]) by(id).setAttribute("aria-pressed", String(id === name));
    show();
  };
  by("rectangle").addEventListener("click", () => take("rectangle"));
  by("polygon").addEventListener("click", () => take("polygon"));
  drawing.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    if (tool === "rectangle") { drawing.setPointerCapture(event.pointerId); begun = [at(event), at(event)]; show(); }
  });
  drawing.addEventListener("pointermove", (event) => {
    if (tool === "rectangle" && begun.length) { begun[1] = at(event); show(); }
  });
  drawing.addEventListener("pointerup", (event) => {
    if (event.button !== 0) return;
    if (tool === "polygon") { begun.push(at(event)); show(); return; }
    if (!begun.length) return;
    const box = corners(begun);
    if (box[1][0] - box[0][0] < 1 || box[2][1] - box[0][1] < 1) { begun = []; show(); return; }
    add(box);
  });
  drawing.addEventListener("dblclick", () => { if (tool === "polygon" && begun.length) close(); });
  addEventListener("keydown", (event) => {
    if (!begun.length) return;
    if (event.key === "Enter") { event.preventDefault(); close(); }
    if (event.key === "Escape") { begun = []; show(); }
  });
  by("save").addEventListener("click", async () => {
    tell("Saving …");
    try {
      const answer = await fetch("zones.json", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ zones }) });
      tell((await answer.json()).told, answer.ok ? "good" : "bad");
      if (answer.ok) changed = false;
    } catch { tell("Not saved: the command that served this page has ended.", "bad"); }
  });
  addEventListener("beforeunload", (event) => { if (changed) event.preventDefault(); });
  (async () => {
    const given = await (await fetch("zones.json")).json();
    sheet = given; zones = given.zones;
    drawing.setAttribute("viewBox", `0 0 ${sheet.width} ${sheet.height}`);
    rows(); show();
    document.body.dataset.ready = "yes";
  })();
})();
