"use strict";

// Every look-up goes its own way: nothing waits for another, and answers are
// listed as they come. Text from the server is only ever set as text.

const maxAnswers = 200;

const form = document.getElementById("lookup");
const field = document.getElementById("name");
const state = document.getElementById("state");
const answers = document.getElementById("answers");

let underWay = 0;
let answered = 0;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  lookUp(field.value);
  field.select();
});

document.getElementById("names").addEventListener("click", (event) => {
  const link = event.target.closest("a[data-name]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) {
    return;
  }
  event.preventDefault();
  lookUp(link.dataset.name);
});

async function lookUp(name) {
  const begun = performance.now();
  underWay++;
  tell();
  try {
    const response = await fetch("/?name=" + encodeURIComponent(name), { headers: { Accept: "application/json" } });
    if (!response.ok) {
      throw new Error("the server answered " + response.status);
    }
    const answer = await response.json();
    if (answer.status === "success") {
      await showPerson(answer.result, begun);
    } else {
      showTrouble(name, "not known");
    }
  } catch (error) {
    showTrouble(name, error.message);
  } finally {
    underWay--;
    answered++;
    tell();
  }
}

async function showPerson(person, begun) {
  const card = addCard(person.name);
  const facts = [person.age && "age " + person.age, person.career].filter(Boolean).join(", ");
  const line = addLine(card, facts);
  if (!person.picture) {
    addLine(card, "no picture");
    return;
  }
  const frame = document.createElement("div");
  frame.className = "frame";
  card.prepend(frame);

  // The path alone: the page and its pictures come from one server, by
  // whatever address the browser reached it.
  const picture = new Image();
  picture.alt = "Picture of " + person.name;
  picture.src = new URL(person.picture).pathname;
  try {
    await picture.decode();
    frame.append(picture);
    const took = document.createElement("span");
    took.className = "hint";
    took.textContent = (facts ? " · " : "") + Math.round(performance.now() - begun) + " ms";
    line.append(took);
  } catch {
    addLine(card, "the picture did not come").className = "bad";
  }
}

function showTrouble(name, trouble) {
  addLine(addCard(name), trouble).className = "bad";
}

function addCard(name) {
  const card = document.createElement("li");
  const title = document.createElement("h3");
  title.textContent = name;
  card.append(title);
  answers.append(card);
  while (answers.children.length > maxAnswers) {
    answers.firstElementChild.remove();
  }
  return card;
}

function addLine(card, text) {
  const line = document.createElement("p");
  line.textContent = text;
  card.append(line);
  return line;
}

function tell() {
  const parts = [];
  if (answered > 0) {
    parts.push(answered + " answered");
  }
  if (underWay > 0) {
    parts.push(underWay + " under way");
  }
  state.textContent = parts.join(", ");
}
