exports.goods = [
  { name: "firkin", cents: 4095 },
  { name: "kilderkin", cents: 8190 },
];
