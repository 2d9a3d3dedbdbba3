// A customer opens the link that Waypost gave, signs in at the simulated Entra and lets the app in: by clicks alone, in a
// real browser, on a phone in dark mode and on a desk in light mode. Nothing on Waypost's pages may complain.

import assert from "node:assert/strict";
import { test } from "node:test";

import { chromium } from "playwright-core";

const { WAYPOST_LINKS, WAYPOST_URL, CHROMIUM } = process.env;
const links = JSON.parse(WAYPOST_LINKS);
const patience = 30_000;

const devices = {
  phone: { viewport: { width: 360, height: 740 }, colorScheme: "dark", isMobile: true, hasTouch: true },
  desk: { viewport: { width: 1280, height: 800 }, colorScheme: "light" },
};

/** A page that writes down everything that a browser complains of while it shows Waypost's pages. */
async function watched(context) {
  const complaints = [];
  const isOurs = (url) => url.startsWith(WAYPOST_URL);
  await context.exposeFunction("tellViolation", (text) => complaints.push(text));
  await context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) =>
      window.tellViolation(`policy: ${event.violatedDirective} ${event.blockedURI} at ${event.documentURI}`),
    );
  });
  const page = await context.newPage();
  page.on("console", (message) => {
    const from = message.location().url || page.url();
    if (["error", "warning"].includes(message.type()) && isOurs(from)) complaints.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`page: ${error}`));
  page.on("response", (response) => {
    if (isOurs(response.url()) && response.status() >= 400) complaints.push(`${response.status()} ${response.url()}`);
  });
  return { page, complaints };
}

/** What every page of ours has to be, whatever it says. */
async function checkPage(page, device) {
  const found = await page.evaluate(() => ({
    language: document.documentElement.lang,
    headings: document.querySelectorAll("h1").length,
    mains: document.querySelectorAll("main").length,
    scripts: document.scripts.length,
    overflow: document.documentElement.scrollWidth - window.innerWidth,
    ground: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.querySelector("main")).color,
  }));
  assert.equal(found.language, "en");
  assert.deepEqual([found.headings, found.mains, found.scripts], [1, 1, 0]);
  assert.ok(found.overflow <= 0, `the page is ${found.overflow} pixels too wide`);
  const brightness = (color) => color.match(/\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0);
  const isDark = brightness(found.ground) < brightness(found.ink);
  assert.equal(isDark, device.colorScheme === "dark", `${found.ink} on ${found.ground}`);
}

async function accept(page, person) {
  await page.locator("#person").selectOption(person);
  await page.getByRole("button", { name: "Accept" }).click();
}

for (const { name, device, link, person, consents } of links) {
  test(`a customer connects ${name} on a ${device}`, async () => {
    // The sandbox refuses to run as root, as containers do.
    const args = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
    const browser = await chromium.launch({ executablePath: CHROMIUM, args });
    try {
      const context = await browser.newContext(devices[device]);
      context.setDefaultTimeout(patience);
      const { page, complaints } = await watched(context);

      await page.goto(link);
      await checkPage(page, devices[device]);
      const go = page.getByRole("button", { name: "Continue with Microsoft" });
      await page.keyboard.press("Tab");
      assert.ok(await go.evaluate((button) => button === document.activeElement), "the keyboard reaches the button");
      await go.click();

      await page.getByRole("heading", { name: "Permissions requested" }).waitFor();
      await accept(page, person);
      if (consents) {
        await page.getByRole("heading", { name: "review for your organization" }).waitFor();
        await accept(page, person);
      }

      await page.getByRole("heading", { name: "Connected" }).waitFor();
      await checkPage(page, devices[device]);
      assert.equal(page.url(), `${WAYPOST_URL}/connect/progress`);
      const cookies = await context.cookies(WAYPOST_URL);
      const own = cookies.filter((cookie) => cookie.name === "waypost-connect");
      assert.equal(own.length, 1);
      assert.ok(own[0].httpOnly && own[0].sameSite === "Lax");
      assert.deepEqual(complaints, []);
    } finally {
      await browser.close();
    }
  });
}
