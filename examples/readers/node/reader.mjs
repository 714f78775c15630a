// Calls a URL again and again with the token of a mounted Secret:
//
//   node examples/readers/node/reader.mjs /var/run/payu/access_token https://api.example.com/orders 1s
import { readFile } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';

const [file, url, pause] = process.argv.slice(2);

// call is fetch, with the token that the file holds now.
async function call(url, options = {}) {
  const token = await read();
  const answer = await send(url, options, token);
  if (answer.status !== 401) return answer;
  const fresh = await read();
  if (fresh === token) return answer; // there is no newer token: the 401 is final
  await answer.body?.cancel();
  return send(url, options, fresh);
}

// read opens the file once more if it does not exist: the kubelet was just replacing its directory.
async function read() {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    return readFile(file, 'utf8');
  }
}

function send(url, options, token) {
  const headers = new Headers(options.headers);
  headers.set('Authorization', `Bearer ${token}`);
  return fetch(url, { ...options, headers });
}

for (;;) {
  const answer = await call(url);
  await answer.body?.cancel();
  console.log(answer.status);
  await setTimeout(1000 * parseFloat(pause));
}
