// Answers every request with the commit that the image was built from.
const http = require("node:http");

const commit = process.env.COMMIT || "unknown";

const server = http.createServer((request, response) => {
  response.setHeader("Content-Type", "text/plain");
  response.end(`${commit}\n`);
});

server.listen(3000, "0.0.0.0");

process.on("SIGTERM", () => server.close(() => process.exit(0)));
