<?php
// Answers every request with the commit that the image was built from.
header("Content-Type: text/plain");
echo getenv("COMMIT") ?: "unknown", "\n";
