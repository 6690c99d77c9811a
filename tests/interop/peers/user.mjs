// A user with a browser, who opens pages of docs/examples, one at a time, and clicks in them.
//
//     node user.mjs EXECUTABLE

import { fileURLToPath } from 'node:url';

import { openTab, withChromium } from './chromium.mjs';
import { serve } from './control.mjs';

const CDN = /^https:\/\/cdn\.jsdelivr\.net\/npm\/livekit-client@[\d.]+\//;
const SDK = new URL('node_modules/livekit-client/', import.meta.url);

// What the page takes from the network comes from node_modules here.
async function fulfill(route) {
  const path = route.request().url().replace(CDN, '');
  await route.fulfill({
    path: fileURLToPath(new URL(path, SDK)),
    contentType: 'text/javascript',
    headers: { 'access-control-allow-origin': '*' },
  });
}

await withChromium(process.argv[2], async (browser) => {
  await browser.route(CDN, fulfill);
  let page;
  const actions = {
    open: async ({ url }) => {
      page = await openTab(browser, 'user');
      await page.goto(url);
    },
    click: ({ button }) => page.getByRole('button', { name: button, exact: true }).click(),
    pick: ({ colour }) => page.getByLabel('Colour').fill(colour),
    leave: () => page.close(),
    run: ({ code }) => page.evaluate(code),
    match: ({ pattern }) => page.getByText(new RegExp(pattern)).first().waitFor(),
    read: ({ text }) => page.getByText(text, { exact: true }).waitFor(),
  };
  await serve(async (command) => {
    return { result: (await actions[command.do](command)) ?? null };
  });
});
