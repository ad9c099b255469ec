/** Elements of the page. */

export function element(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no ${id}`);
  return found;
}

export function button(name: string, act: () => Promise<void>): HTMLButtonElement {
  const made = document.createElement("button");
  made.textContent = name;
  made.onclick = () => {
    // Nobody does twice what is being done.
    made.disabled = true;
    void act().finally(() => (made.disabled = false));
  };
  return made;
}

/** A line of a list; `id` is that of the thing it shows. */
export function line(text: string, shown: { id?: string } = {}, ...more: Node[]): HTMLLIElement {
  const made = document.createElement("li");
  made.append(text, ...more);
  if (shown.id !== undefined) made.dataset["id"] = shown.id;
  return made;
}

export function listOf(title: string, lines: HTMLElement[]): HTMLElement {
  const made = document.createElement("section");
  const heading = document.createElement("h3");
  heading.textContent = title;
  const list = document.createElement("ul");
  list.append(...lines);
  made.append(heading, list);
  return made;
}
