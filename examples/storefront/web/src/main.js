const { renderList } = require("render-list");
const { goods } = require("./goods.js");

exports.renderPage = () => `<!doctype html>
<title>Storefront</title>
<script src="assets/bundle.js" defer></script>
<ul>
${renderList(goods)}
</ul>
`;
