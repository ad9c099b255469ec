// Renders openapi.json. Everything from the document enters the page as text, never as markup.
"use strict";

const METHODS = ["get", "put", "post", "delete", "patch", "head", "options"];

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== undefined && child !== null));
  return made;
}

function schemaName(reference) {
  return reference.split("/").pop();
}

// A schema in few words: `Report`, `array of string`, `object`.
function brief(schema) {
  if (!schema) return document.createTextNode("");
  if (schema.$ref) {
    const name = schemaName(schema.$ref);
    return element("a", { href: `#schema-${name}` }, name);
  }
  const kind = Array.isArray(schema.type) ? schema.type.join(" or ") : (schema.type ?? "any");
  if (kind === "array") return element("span", {}, "array of ", brief(schema.items));
  const format = schema.format ? ` (${schema.format})` : "";
  const choices = schema.enum ? `: ${schema.enum.join(", ")}` : "";
  return element("span", {}, `${kind}${format}${choices}`);
}

function table(headings, rows) {
  const head = element("tr", {}, ...headings.map((heading) => element("th", {}, heading)));
  const body = rows.map((cells) =>
    element("tr", {}, ...cells.map((cell) => element("td", {}, cell ?? ""))));
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
}

function contents(media) {
  const entries = Object.entries(media ?? {});
  return element("span", {}, ...entries.flatMap(([type, entry]) =>
    [element("code", {}, type), " ", brief(entry.schema), " "]));
}

function parameters(operation, shared) {
  const all = [...(shared ?? []), ...(operation.parameters ?? [])];
  if (all.length === 0) return undefined;
  const rows = all.map((parameter) => [
    element("code", {}, parameter.name + (parameter.required ? " *" : "")),
    parameter.in,
    brief(parameter.schema),
    parameter.description,
  ]);
  return element("div", {}, element("h4", {}, "Parameters"),
    table(["name", "in", "type", "meaning"], rows));
}

function requestBody(operation) {
  if (!operation.requestBody) return undefined;
  return element("p", {}, element("strong", {}, "Body "), contents(operation.requestBody.content));
}

function responses(operation) {
  const rows = Object.entries(operation.responses ?? {}).map(([status, response]) =>
    [element("code", {}, status), response.description, contents(response.content)]);
  return element("div", {}, element("h4", {}, "Answers"), table(["status", "meaning", "body"], rows));
}

function operationElement(path, method, operation, shared) {
  const summary = element("summary", {},
    element("span", { class: `method ${method}` }, method),
    element("code", {}, path), " ", operation.summary ?? "");
  const description = operation.description && element("p", {}, operation.description);
  const made = element("details", {}, summary, description, parameters(operation, shared),
    requestBody(operation), responses(operation));
  made.dataset.words = [path, method, ...(operation.tags ?? []), operation.operationId ?? ""]
    .join(" ").toLowerCase();
  return made;
}

function schemaElement(name, schema) {
  const required = new Set(schema.required ?? []);
  const members = Object.entries(schema.properties ?? {});
  const rows = members.map(([member, type]) => [
    element("code", {}, member + (required.has(member) ? " *" : "")),
    brief(type),
    type.description,
  ]);
  const shape = rows.length > 0
    ? table(["member", "type", "meaning"], rows)
    : element("pre", {}, JSON.stringify(schema, null, 2));
  const description = schema.description && element("p", {}, schema.description);
  return element("details", { id: `schema-${name}` }, element("summary", {}, name), description, shape);
}

function show(openapi) {
  document.title = openapi.info.title;
  document.getElementById("title").textContent = `${openapi.info.title} ${openapi.info.version}`;
  document.getElementById("about").textContent = openapi.info.description ?? "";
  const operations = Object.entries(openapi.paths ?? {}).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method])
      .map((method) => operationElement(path, method, item[method], item.parameters)));
  document.getElementById("operations").replaceChildren(...operations);
  const schemas = Object.entries(openapi.components?.schemas ?? {})
    .map(([name, schema]) => schemaElement(name, schema));
  document.getElementById("schemas").replaceChildren(...schemas);
  document.getElementById("filter").addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    for (const made of operations) made.hidden = !made.dataset.words.includes(wanted);
  });
}

// A link to a schema opens it.
function openTarget() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
}
addEventListener("hashchange", openTarget);

fetch("openapi.json")
  .then((answer) => {
    if (!answer.ok) throw new Error(`openapi.json answered ${answer.status}`);
    return answer.json();
  })
  .then(show)
  .then(openTarget)
  .catch((error) => {
    const message = element("p", { class: "failed" }, error.message);
    document.getElementById("operations").replaceChildren(message);
  });
