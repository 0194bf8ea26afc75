// Reads {"secret", "headers", "body"} and says what the library for JavaScript makes of it: "accepted" or
// "refused: <why>".
"use strict";
const { readFileSync } = require("node:fs");
const { Webhook, WebhookVerificationError } = require("standardwebhooks");

const { secret, headers, body } = JSON.parse(readFileSync(0, "utf8"));
try {
    new Webhook(secret).verify(body, headers);
    console.log("accepted");
} catch (error) {
    if (!(error instanceof WebhookVerificationError)) throw error;
    console.log(`refused: ${error.message}`);
}
