// Drives one Chromium for tests/kit/browser.rs: one JSON command a line on standard input, one JSON answer a line on standard
// output. The first command says how to start; the browser ends with standard input, however the test ended.
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const say = (value) => process.stdout.write(JSON.stringify(value) + '\n');
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const hear = async () => {
  const { value, done } = await lines.next();
  return done ? null : JSON.parse(value);
};

const wish = await hear();
const { chromium } = await import(pathToFileURL(wish.playwright).href);

const context = await chromium.launchPersistentContext(wish.profile, {
  executablePath: wish.chromium,
  headless: true,
  timeout: wish.timeout,
  env: { ...process.env, HOME: wish.home },
  args: wish.args,
  locale: wish.locale,
});
context.setDefaultTimeout(wish.timeout);

// What happened since the last visit began.
let seen;
const clear = () => { seen = { console: [], failed: [], requests: [] }; };
clear();
context.on('request', (request) => seen.requests.push({ url: request.url(), method: request.method(), kind: request.resourceType() }));
context.on('requestfailed', (request) => seen.failed.push({ url: request.url(), error: request.failure()?.errorText ?? '' }));
context.on('console', (message) => seen.console.push({ kind: message.type(), text: message.text(), url: message.location()?.url ?? '' }));
context.on('weberror', (error) => seen.console.push({ kind: 'exception', text: String(error.error()), url: error.page()?.url() ?? '' }));

const page = context.pages()[0] ?? (await context.newPage());

const visit = async (command) => {
  clear();
  const answer = { status: 0, error: '', security: null, fields: {}, address: '' };
  try {
    const response = await page.goto(command.url, { waitUntil: 'load', timeout: wish.timeout });
    if (response) {
      answer.status = response.status();
      answer.security = await response.securityDetails();
      answer.fields = await response.allHeaders();
      const server = await response.serverAddr();
      answer.address = server ? `${server.ipAddress}:${server.port}` : '';
    }
    if (command.until) {
      // The text of the page, its frames' included, as it is shown.
      await page.waitForFunction((text) => document.body?.innerText.includes(text), command.until, { timeout: wish.timeout });
    }
    if (command.quiet) await page.waitForLoadState('networkidle', { timeout: wish.timeout });
  } catch (error) {
    answer.error = String(error.message ?? error).split('\n')[0];
  }
  return finish(answer);
};

const finish = async (answer) => {
  try {
    answer.url = page.url();
    answer.title = await page.title();
    answer.text = await page.evaluate(() => document.body?.innerText ?? '');
  } catch (error) {
    answer.error ||= String(error.message ?? error).split('\n')[0];
  }
  return { ...answer, ...seen };
};

const run = async (command) => {
  try {
    return { value: (await page.evaluate(command.run)) ?? null };
  } catch (error) {
    return { error: String(error.message ?? error) };
  }
};

say({ ready: context.browser()?.version() ?? 'Chromium' });
for (let command = await hear(); command; command = await hear()) {
  if (command.url) say(await visit(command));
  else if (command.run) say(await run(command));
  else if (command.look) say(await finish({ status: 0, error: '', security: null, fields: {}, address: '' }));
  else say({ error: `unknown command ${JSON.stringify(command)}` });
}
await context.close();
process.exit(0);
