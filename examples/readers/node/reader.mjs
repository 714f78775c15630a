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
  const fresh = await newer(token);
  if (!fresh) return answer; // there is no newer token: the 401 is final
  await answer.body?.cancel();
  return send(url, options, fresh);
}

// newer waits for a moment until the file holds another token, and returns that; nothing if none comes.
async function newer(token) {
  for (const deadline = Date.now() + 3000; Date.now() < deadline; await setTimeout(50)) {
    const fresh = await read();
    if (fresh !== token) return fresh;
  }
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
