// Commands on standard input, answers and events on standard output, a JSON object a line.

import { createInterface } from 'node:readline';

export function write(message) {
  process.stdout.write(JSON.stringify(message) + '\n');
}

// Have `obey` answer each command, concurrently, until there are no more.
export async function serve(obey) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { id, ...command } = JSON.parse(line);
    obey(command).then(
      (answer) => write({ id, ...answer }),
      (error) => write({ id, failure: String(error) }),
    );
  }
}
