// Rebuilds sluicegate/http/web/vendor/: one ES module with mediasoup-client and what it needs, and the licences of all of it.
// Same versions in, same bytes out: no time, path or machine goes into the output.

import { readFile, readdir, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import path from "node:path";
import { build } from "esbuild";

const here = path.dirname(fileURLToPath(import.meta.url));
const vendor = path.join(here, "../sluicegate/http/web/vendor");
const main = "mediasoup-client";

/** The packages whose files esbuild took in, main one first, the others by name. */
function bundledPackages(inputs) {
  const names = new Set();
  for (const file of Object.keys(inputs)) {
    const found = file.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)\//);
    if (found) names.add(found[1]);
  }
  names.delete(main);
  return [main, ...[...names].sort()];
}

/** One package's manifest and licence text; a package without a licence must not be shipped. */
async function describe(name) {
  const folder = path.join(here, "node_modules", name);
  const manifest = JSON.parse(await readFile(path.join(folder, "package.json"), "utf8"));
  const licence = (await readdir(folder)).find((file) => /^licen[cs]e(\.|$)/i.test(file));
  if (!licence) throw new Error(`${name} has no licence file`);
  const text = (await readFile(path.join(folder, licence), "utf8")).replaceAll("\r\n", "\n").trim();
  return { name: manifest.name, version: manifest.version, licence: manifest.license, text };
}

const options = {
  entryPoints: [path.join(here, "entry.js")],
  absWorkingDir: here,
  bundle: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  minify: true,
  legalComments: "inline",
  charset: "utf8",
  write: false,
  metafile: true,
};

const first = await build(options);
const packages = await Promise.all(bundledPackages(first.metafile.inputs).map(describe));
const [product, ...others] = packages;
const list = packages.map((one) => ` * ${one.name} ${one.version} (${one.licence})`).join("\n");
const banner = `/*!\n${list}\n *\n * Bundled and minified, otherwise unchanged, by web-build/build.mjs. Licences: LICENSE and NOTICE beside this file.\n */\n`;

const notice = [
  `mediasoup-client.js holds ${product.name} ${product.version} (licence: LICENSE beside this file) and the packages it needs:`,
  ...others.map(
    (one) => `${"=".repeat(78)}\n${one.name} ${one.version} (${one.licence})\n${"=".repeat(78)}\n\n${one.text}`,
  ),
].join("\n\n");

await writeFile(path.join(vendor, "mediasoup-client.js"), banner + first.outputFiles[0].text);
await writeFile(path.join(vendor, "LICENSE"), `${product.name} ${product.version}\n\n${product.text}\n`);
await writeFile(path.join(vendor, "NOTICE"), `${notice}\n`);
console.log(list);
