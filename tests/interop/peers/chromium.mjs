// The browser: Debian's Chromium, headless, with a profile of its own, silent towards the network.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const SWITCHES = [
  '--headless=new',
  '--no-sandbox',
  '--no-first-run',
  '--disable-gpu',
  '--disable-quic',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  // Sound without a click.
  '--autoplay-policy=no-user-gesture-required',
];

// Run `use` with the browser, and leave nothing behind.
export async function withChromium(executablePath, use) {
  const profile = await mkdtemp(join(tmpdir(), 'interop-'));
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath,
    args: SWITCHES,
  });
  try {
    await use(browser);
  } finally {
    await browser.close();
    await rm(profile, { recursive: true, force: true });
  }
}

// A tab, what it complains about going to standard error.
export async function openTab(browser, name) {
  const page = await browser.newPage();
  page.on('console', (message) => console.error(name, message.type(), message.text()));
  page.on('pageerror', (error) => console.error(name, error));
  return page;
}
