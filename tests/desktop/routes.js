/** Writes what the contract calls its operations, and where each of them is: src/generated/routes.ts. */
import { readFile, writeFile } from "node:fs/promises";

const BASE_PATH = "/bff/backoffice/v1";

const { paths } = JSON.parse(await readFile("../../schemas/openapi.json", "utf8"));
const routes = Object.entries(paths).flatMap(([path, item]) =>
  Object.entries(item)
    .filter(([, operation]) => path.startsWith(BASE_PATH) && operation.operationId !== undefined)
    .map(([method, { operationId }]) => {
      return [operationId, { method, path: path.slice(BASE_PATH.length) }];
    }),
);
const table = JSON.stringify(Object.fromEntries(routes), undefined, 2);
await writeFile("src/generated/routes.ts", `export const ROUTES = ${table} as const;\n`);
