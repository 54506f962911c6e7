const { formatPrice } = require("format-price");

exports.renderList = (goods) => goods.map(({ name, cents }) => `<li>${name}: ${formatPrice(cents)}</li>`).join("\n");
