// Every wait of a test is one of these: for something, and not for ever. None is for a time to pass.
export const DEADLINE_MS = 20000;

export async function within(promise, what = "an answer") {
  let timer;
  const late = new Promise((resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come in ${DEADLINE_MS} ms`)), DEADLINE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

// What a callback is called with, from now on: hear((heard) => channel.on("said", heard)) keeps the
// first argument of each call in `all`, and next() promises them one after the other.
export function hear(subscribe, what) {
  const all = [];
  let taken = 0;
  let wake = () => {};
  subscribe((value) => {
    all.push(value);
    wake();
  });
  return {
    all,
    async next() {
      const mine = taken++;
      while (all.length <= mine) await within(new Promise((resolve) => { wake = resolve; }), what);
      return all[mine];
    },
  };
}
