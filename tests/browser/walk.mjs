// Walks through the pages as a person does, in headless Chromium: by mouse, by keyboard, and without JavaScript. Every page is
// looked at by axe-core in light and in dark, and no page may write an error to the console.
//
//     node walk.mjs PATH-TO-ctx PATH-TO-chromium
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const [ctx, executablePath] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const folder = mkdtempSync(path.join(tmpdir(), "pages-"));
const shots = process.env.SCREENSHOTS;
if (shots) mkdirSync(shots, { recursive: true });

const TOKEN = "alice-of-the-browser-test";
const HOME = "ctx://demo/users/alice/memories";
const STRANGE = "ctx://demo/resources/%3Cscript%3Ealert(1)%3C%2Fscript%3E".replace("%2F", "%E2%88%95");

/** Starts `ctx serve`, and says where it listens. */
async function serve(...options) {
  const child = spawn(path.resolve(ctx), ["--json", "serve", "--listen", "127.0.0.1:0", ...options], {
    cwd: folder,
    env: {},
    stdio: ["ignore", "pipe", "inherit"],
  });
  for await (const line of createInterface({ input: child.stdout })) {
    return { child, address: JSON.parse(line).listening };
  }
  throw new Error("ctx serve has ended without a word");
}

async function ended(child) {
  const exit = new Promise((resolve) => child.once("exit", (code) => resolve(code)));
  child.kill("SIGTERM");
  assert.equal(await exit, 0, "ctx serve ends in good order");
}

/** Asks the interface. */
async function ask(address, method, route, body, token) {
  const headers = { "content-type": "application/json" };
  if (token) headers.authorization = `Bearer ${token}`;
  const answer = await fetch(address + route, { method, headers, body: body && JSON.stringify(body) });
  assert.ok(answer.ok, `${method} ${route}: ${answer.status} ${await answer.clone().text()}`);
  return answer.json();
}

const at = (page, uri) => `/${page}?uri=${encodeURIComponent(uri)}`;

async function fill(address) {
  const put = (uri, body) => ask(address, "PUT", at("api/v1/nodes", uri), body);
  await put(`${HOME}/likes/tea`, { content: "Black tea, with milk.\nIn the morning.\n", abstract: "What Alice drinks" });
  await put(`${HOME}/likes/tea`, { content: "Green tea, no sugar.\nIn the morning.\nNever after six.\n" });
  await put("ctx://demo/resources/handbook", { content: "# The handbook\n\nAsk before you book.\n", abstract: "How we work" });
  await put("ctx://demo/resources/handbook/travel", { content: "Trains first.\n" });
  const links = [
    { to: `${HOME}/likes/tea`, edge_type: "because of", weight: 0.9, reason: "she said so" },
    { to: "ctx://demo/resources/handbook", edge_type: "follows", weight: 0.4 },
  ];
  await put(`${HOME}/plans/trip`, { content: "Kyoto in May, for the tea.\n", abstract: "Where she goes next", links });
  await put(`${HOME}/people/bob`, {
    content: "Comes along.\n",
    links: [{ to: `${HOME}/plans/trip`, edge_type: "is part of", weight: 0.7 }],
  });
  await put(STRANGE, { content: "<img src=x onerror=alert(1)>\n", abstract: "<b>not bold</b>" });
}

const errors = [];

/** A window whose console is read. */
async function fresh(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on("console", (message) => message.type() === "error" && errors.push(`${page.url()}: ${message.text()}`));
  page.on("pageerror", (error) => errors.push(`${page.url()}: ${error.message}`));
  page.on("dialog", (dialog) => (errors.push(`a dialog: ${dialog.message()}`), dialog.dismiss()));
  return page;
}

let looked = 0;

/** What axe-core finds wrong: contrast, names, roles, landmarks, headings. */
async function looksRight(page, what) {
  await page.evaluate(axe);
  const { violations, passes } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations", "passes"] }));
  const told = violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html).join(" ")}`);
  assert.deepEqual(told, [], `${what} (${page.url()})`);
  assert.ok(passes.some(({ id }) => id === "color-contrast"), `${what}: contrast was looked at`);
  looked += 1;
}

async function shot(page, name) {
  if (shots) await page.screenshot({ path: path.join(shots, `${name}.png`) });
}

async function byMouse(browser, address) {
  const page = await fresh(browser);
  await page.goto(`${address}/`);
  assert.equal(await page.getByRole("heading", { level: 1 }).textContent(), "demo");
  await page.getByRole("link", { name: "users/" }).click();
  await page.getByRole("link", { name: "alice/" }).click();
  await page.getByRole("link", { name: "memories/" }).click();
  await page.getByRole("link", { name: "plans/" }).click();
  await page.getByRole("link", { name: "trip", exact: true }).first().click();
  await page.getByRole("heading", { name: "Edges" }).waitFor();
  await shot(page, "node");
  // Along an edge of the picture.
  await page.getByRole("group", { name: "The edges as a picture" }).getByRole("link", { name: "because of to tea" }).click();
  assert.equal(await page.getByRole("heading", { level: 1 }).textContent(), "tea");
  assert.equal(await page.getByRole("navigation", { name: "Folders above" }).getByRole("listitem").count(), 6);
  await page.getByRole("link", { name: "history" }).click();
  await page.getByRole("link", { name: "From version 1 to 2" }).click();
  assert.match(await page.locator("ins").first().textContent(), /Green tea/);
  assert.match(await page.locator("del").first().textContent(), /Black tea/);
  await shot(page, "diff");
  await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: "Search" }).click();
  await page.getByLabel("Question").fill("what does she drink: tea?");
  await page.getByRole("button", { name: "Search" }).click();
  await page.locator("mark").first().waitFor();
  await shot(page, "search");
  await page.goto(address + at("browse", STRANGE));
  assert.match(await page.locator("pre").last().textContent(), /<img src=x onerror=alert\(1\)>/);
  assert.equal(await page.locator("main img, main script").count(), 0);
  await page.context().close();
}

/** The live view follows a write, without being loaded again. */
async function live(browser, address) {
  const page = await fresh(browser);
  await page.goto(`${address}/live`);
  const records = page.locator("[data-number=index_records]");
  const state = page.getByRole("status");
  await page.waitForFunction(() => document.getElementById("state").textContent === "Live. The index is up to date.");
  const before = Number(await records.textContent());
  await ask(address, "PUT", at("api/v1/nodes", "ctx://demo/resources/new"), { content: "x", abstract: "y" });
  await page.waitForFunction((n) => Number(document.querySelector("[data-number=index_records]").textContent) === n, before + 2);
  await page.waitForFunction(() => document.querySelector("[data-number=pending]").textContent === "0");
  assert.match(await state.textContent(), /^Live\./);
  await shot(page, "outbox");
  await page.context().close();
}

/** With Tab and Enter alone. */
async function byKeyboard(browser, address) {
  const page = await fresh(browser);
  await page.goto(address + at("browse", `${HOME}/plans/trip`));
  const focused = () => page.evaluate(() => {
    const element = document.activeElement;
    return element.getAttribute("aria-label") ?? element.textContent.trim();
  });
  const stops = [];
  for (let n = 0; n < 40; n += 1) {
    await page.keyboard.press("Tab");
    const name = await focused();
    assert.notEqual(name, "", "what has the focus has a name");
    const ring = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.notEqual(ring, "none", `the focus is seen on ${name}`);
    stops.push(name);
    if (name === "because of to tea") break;
  }
  assert.deepEqual(stops.slice(0, 4), ["Skip to the content", "Browse", "Search", "Outbox"]);
  assert.equal(stops.at(-1), "because of to tea", stops.join(", "));
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "tea" }).waitFor();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "content", "the skip link leads to the content");
  await page.context().close();
}

/** Everything but the live view needs no script, and that shows its numbers as they were. */
async function withoutJavaScript(browser, address) {
  const page = await fresh(browser, { javaScriptEnabled: false });
  await page.goto(address + at("browse", `${HOME}/plans/trip`));
  await page.getByRole("link", { name: "is part of from bob" }).click();
  await page.getByRole("heading", { level: 1, name: "bob" }).waitFor();
  await page.getByRole("link", { name: "Search" }).click();
  await page.getByLabel("Question").fill("kyoto");
  await page.getByRole("button", { name: "Search" }).click();
  await page.getByRole("link", { name: "trip" }).first().click();
  await page.getByRole("link", { name: "history" }).click();
  await page.getByRole("link", { name: "Outbox" }).click();
  assert.equal(await page.locator("[data-number=pending]").textContent(), "0");
  assert.equal(await page.getByRole("status").textContent(), "As it was when the page was loaded.");
  await page.context().close();
}

async function everyPageLooksRight(browser, address) {
  const pages = [
    at("browse", "ctx://demo"), at("browse", `${HOME}/plans/trip`), at("browse", STRANGE), at("history", `${HOME}/likes/tea`),
    `${at("diff", `${HOME}/likes/tea`)}&from=1&to=2`, "/search", "/search?q=tea", "/search?q=nothing-of-that", "/live",
  ];
  for (const colorScheme of ["light", "dark"]) {
    const page = await fresh(browser, { colorScheme });
    for (const route of pages) {
      const answer = await page.goto(address + route);
      assert.equal(answer.status(), 200, route);
      await looksRight(page, colorScheme);
    }
    // An error is a page as well. (The browser itself writes of an answer that is none of the good ones.)
    const before = errors.length;
    await page.goto(address + at("browse", "ctx://demo/resources/none"));
    errors.splice(before);
    await looksRight(page, colorScheme);
    await page.context().close();
  }
}

/** Where tokens are asked for, a person signs in and out. */
async function signsIn(browser) {
  const { writeFileSync } = await import("node:fs");
  writeFileSync(path.join(folder, "tokens"), `${TOKEN} demo user:alice\n`);
  const { child, address } = await serve("--tokens", "tokens");
  try {
    const page = await fresh(browser);
    await page.goto(`${address}/sign-in`);
    await looksRight(page, "sign in");
    await page.getByLabel("Token").fill(TOKEN);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("heading", { level: 1, name: "demo" }).waitFor();
    await page.goto(address + at("browse", `${HOME}/plans/trip`));
    await looksRight(page, "signed in");
    // The live view is asked for with the cookie.
    await page.goto(`${address}/live`);
    await page.waitForFunction(() => document.getElementById("state").textContent.startsWith("Live."));
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("heading", { level: 1, name: "Sign in" }).waitFor();
    const answer = await page.request.get(`${address}/`);
    assert.equal(answer.status(), 401);
    await page.context().close();
  } finally {
    await ended(child);
  }
}

const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
let passed = 0;
try {
  const { child, address } = await serve("--account", "demo", "--user", "alice", "--role", "admin");
  try {
    await fill(address);
    for (const walk of [live, byMouse, byKeyboard, withoutJavaScript, everyPageLooksRight]) {
      await walk(browser, address);
      passed += 1;
      console.log(`ok ${walk.name}`);
    }
  } finally {
    await ended(child);
  }
  await signsIn(browser);
  passed += 1;
  console.log("ok signsIn");
  assert.deepEqual(errors, [], "what the pages wrote to the console");
  console.log(`${passed} passed, 0 failed`);
  console.log(`axe-core ${/axe v([0-9.]+)/.exec(axe)?.[1]} found nothing wrong in ${looked} views; 0 errors on the console`);
} finally {
  await browser.close();
  rmSync(folder, { recursive: true, force: true });
}
