// Puts a module and everything it requires into one file, and renders the page.
const fs = require("node:fs");
const path = require("node:path");

const [source, target] = process.argv.slice(2).map((name) => path.resolve(name));
const modules = new Map();

function add(file) {
  if (modules.has(file)) return;
  const text = fs.readFileSync(file, "utf8");
  modules.set(file, text);
  const local = require("node:module").createRequire(file);
  for (const [, name] of text.matchAll(/require\("([^"]+)"\)/g)) {
    if (!name.startsWith("node:")) add(local.resolve(name));
  }
}

add(path.join(source, "main.js"));
fs.mkdirSync(path.join(target, "assets"), { recursive: true });
const bundle = [...modules].map(([file, text]) => `// ${path.relative(process.cwd(), file)}\n${text}`).join("\n");
fs.writeFileSync(path.join(target, "assets", "bundle.js"), bundle);
const { renderPage } = require(path.join(source, "main.js"));
fs.writeFileSync(path.join(target, "index.html"), renderPage());
fs.symlinkSync("index.html", path.join(target, "shop.html"));
console.log(`bundled ${modules.size} modules`);
