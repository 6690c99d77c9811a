// Participants of LiveKit's SDK for browsers, each in a tab of one Chromium.
//
//     node browser.mjs EXECUTABLE

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';

import { openTab, withChromium } from './chromium.mjs';
import { serve, write } from './control.mjs';

const here = (path) => new URL(path, import.meta.url);
const FILES = {
  '/': ['text/html', here('page.html')],
  '/participant.mjs': ['text/javascript', here('participant.mjs')],
  '/media.mjs': ['text/javascript', here('media.mjs')],
  '/livekit-client.mjs': [
    'text/javascript',
    here('node_modules/livekit-client/dist/livekit-client.esm.mjs'),
  ],
};

const server = createServer(async ({ url }, response) => {
  const [type, file] = FILES[url] ?? [];
  if (!type) return response.writeHead(404).end();
  response.writeHead(200, { 'content-type': type }).end(await readFile(file));
});
// Pages of this host are trusted as those with TLS are.
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const url = `http://127.0.0.1:${server.address().port}/`;

async function open(browser, identity) {
  const page = await openTab(browser, identity);
  await page.exposeFunction('write', write);
  await page.goto(url);
  await page.evaluate((identity) => window.start(identity), identity);
  return page;
}

async function crash(page) {
  const session = await page.context().newCDPSession(page);
  const crashed = new Promise((resolve) => page.once('crash', resolve));
  session.send('Page.crash').catch(() => {}); // never answered
  await crashed;
  return { result: null };
}

await withChromium(process.argv[2], async (browser) => {
  const pages = new Map();
  await serve(async (command) => {
    const { participant: identity } = command;
    if (command.do.startsWith('join')) pages.set(identity, await open(browser, identity));
    const page = pages.get(identity);
    if (command.do === 'crash') return await crash(page);
    if (command.do === 'leave' && page.isClosed()) return { result: null };
    const answer = await page.evaluate((command) => window.participant.obey(command), command);
    // A tab that is left open would play and draw on.
    if (command.do === 'leave') await page.close();
    return answer;
  });
});
server.close();
