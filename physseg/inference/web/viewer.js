// The viewer of one answer: colours over the picture, drawn here, so that looking costs the server nothing.
const find = (name) => element.querySelector(name);
const canvas = find("canvas"), context = canvas.getContext("2d", { willReadFrequently: true });
const hidden = new Set(); // words switched off, by name: they stay off when words are added
let answer = null, picture = null, map = null, lit = -1, turn = 0;

function load(uri) {
  return new Promise((done, failed) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = failed;
    image.src = uri;
  });
}

function pixels(image) {
  const sheet = new OffscreenCanvas(image.width, image.height).getContext("2d", { colorSpace: "srgb" });
  sheet.drawImage(image, 0, 0);
  return sheet.getImageData(0, 0, image.width, image.height);
}

function draw() {
  if (!answer) return;
  const { width, height } = picture, out = context.createImageData(width, height);
  const alpha = Number(find(".alpha").value), from = picture.data, labels = map.data, to = out.data;
  const shown = answer.words.map((word) => !hidden.has(word.name));
  for (let at = 0, pixel = 0; at < to.length; at += 4, pixel++) {
    const label = labels[at], colour = answer.words[label].colour;
    // A white line where names meet.
    const rim = (pixel % width && labels[at - 4] !== label) || (at >= 4 * width && labels[at - 4 * width] !== label);
    let weight = shown[label] ? alpha : 0;
    if (lit >= 0 && label !== lit) weight *= 0.25;
    for (let c = 0; c < 3; c++) {
      to[at + c] = shown[label] && rim && weight ? 255 : from[at + c] * (1 - weight) + colour[c] * weight;
    }
    to[at + 3] = 255;
  }
  context.putImageData(out, 0, 0);
  find(".overlay").href = canvas.toDataURL("image/png");
}

function listWords() {
  const list = find(".words");
  list.replaceChildren();
  const order = answer.words.map((_, i) => i).sort((a, b) => answer.words[b].share - answer.words[a].share);
  for (const index of order) {
    const word = answer.words[index], chip = document.createElement("button"), patch = document.createElement("i");
    chip.type = "button";
    chip.className = "word" + (hidden.has(word.name) ? " off" : "");
    chip.dataset.name = word.name;
    chip.setAttribute("aria-pressed", String(!hidden.has(word.name)));
    patch.style.background = `rgb(${word.colour})`;
    const share = document.createElement("small");
    share.textContent = (100 * word.share).toFixed(1) + " %";
    chip.append(patch, word.name.split(",")[0], share);
    chip.onclick = () => {
      hidden.has(word.name) ? hidden.delete(word.name) : hidden.add(word.name);
      listWords();
      draw();
    };
    chip.onmouseenter = () => { lit = index; draw(); };
    chip.onmouseleave = () => { lit = -1; draw(); };
    list.append(chip);
  }
}

async function show() {
  const value = props.value, mine = ++turn;
  if (!value || !value.map) return;
  const [image, labels] = await Promise.all([load(value.image), load(value.map)]);
  if (mine !== turn) return; // a newer answer came meanwhile
  answer = value;
  picture = pixels(image);
  map = pixels(labels);
  canvas.width = picture.width;
  canvas.height = picture.height;
  canvas.style.width = `min(100%, calc(72vh * ${picture.width / picture.height}))`;
  lit = -1;
  find(".stage").classList.add("on");
  find(".tools").hidden = false;
  find(".model").textContent = value.model;
  find(".time").textContent = value.time;
  for (const [name, uri, ending] of [["labels", value.labels, "_labels.png"], ["json", value.json, ".json"]]) {
    find("." + name).href = uri;
    find("." + name).download = value.stem + ending;
  }
  find(".overlay").download = value.stem + "_overlay.png";
  listWords();
  draw();
  find(".viewer").dataset.ready = value.words.map((word) => word.name).join("|");
}

canvas.onmousemove = (event) => {
  if (!answer) return;
  const box = canvas.getBoundingClientRect(), tip = find(".tip");
  const x = Math.floor((event.clientX - box.left) / box.width * canvas.width);
  const y = Math.floor((event.clientY - box.top) / box.height * canvas.height);
  const at = 4 * (Math.min(y, canvas.height - 1) * canvas.width + Math.min(x, canvas.width - 1));
  const word = answer.words[map.data[at]], patch = document.createElement("i");
  patch.style.background = `rgb(${word.colour})`;
  tip.replaceChildren(patch, `${word.name}  ${(map.data[at + 1] / 255).toFixed(2)}`);
  tip.hidden = false;
  tip.style.left = Math.min(event.clientX - box.left, box.width - tip.offsetWidth - 16) + "px";
  tip.style.top = Math.max(event.clientY - box.top, 40) + "px";
};
canvas.onmouseleave = () => { find(".tip").hidden = true; };
find(".alpha").oninput = draw;
find(".all").onclick = () => { hidden.clear(); listWords(); draw(); };
find(".none").onclick = () => { answer.words.forEach((word) => hidden.add(word.name)); listWords(); draw(); };
watch("value", show);
show();
