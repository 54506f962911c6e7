// Installs the dependencies of package.json from vendor/, as a package manager would from a mirror.
const fs = require("node:fs");
const path = require("node:path");

const { dependencies } = JSON.parse(fs.readFileSync("package.json", "utf8"));

for (const [name, source] of Object.entries(dependencies)) {
  const target = path.join("node_modules", name);
  fs.mkdirSync(path.dirname(target), { recursive: true });
  fs.cpSync(source.replace(/^file:/, ""), target, { recursive: true });
  console.log(`installed ${name}`);
}
