// Node's client (etcd3), on gRPC in JavaScript.
"use strict";
const assert = require("node:assert");
const { Etcd3 } = require("etcd3");

const LIMIT_MS = 60_000;
const EVENTS = 20;

// Asks the test to kill a member and waits until it has.
const kill = () =>
  new Promise((resolve) => {
    process.stdin.once("data", resolve);
    console.log("KILL");
  });

// What fails is asked for again, as long as the time for all of it lasts.
async function insist(call) {
  const end = Date.now() + LIMIT_MS;
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (Date.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

async function keys(client) {
  await client.put("node/k").value("v");
  assert.equal(await client.get("node/k").string(), "v");
  const swap = () => client.if("node/k", "Value", "==", "v").then(client.put("node/k").value("w")).commit();
  assert.deepEqual([(await swap()).succeeded, (await swap()).succeeded], [true, false]);
  const lease = client.lease(60, { autoKeepAlive: false });
  await lease.put("node/leased").value("v");
  assert.equal((await lease.keepaliveOnce()).TTL, "60");
  await lease.revoke();
  assert.equal(await client.get("node/leased").string(), null);
}

async function recipes(client) {
  const lock = client.lock("node/lock");
  await lock.acquire();
  await assert.rejects(client.lock("node/lock").acquire());
  await lock.release();
  const election = client.election("node/election", 60);
  const campaign = election.campaign("first");
  await new Promise((resolve, reject) => campaign.on("elected", resolve).on("error", reject));
  assert.equal(await election.leader(), "first");
  await campaign.resign();
}

async function survive(client) {
  const seen = [];
  const watcher = await client.watch().prefix("node/watched/").create();
  const all = new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`told of ${seen}`)), LIMIT_MS);
    watcher.on("put", (kv) => {
      const key = kv.key.toString();
      // A put that was asked for again may have happened twice.
      if (seen.at(-1) !== key) seen.push(key);
      if (seen.length === EVENTS) {
        clearTimeout(late);
        resolve();
      }
    });
  });
  await kill();
  const names = Array.from({ length: EVENTS }, (_, number) => `node/watched/${String(number).padStart(2, "0")}`);
  for (const name of names) await insist(() => client.put(name).value("v"));
  await all;
  assert.deepEqual(seen, names);
}

async function main() {
  const client = new Etcd3({ hosts: process.argv[2].split(",") });
  await keys(client);
  await recipes(client);
  await survive(client);
  console.log("DONE");
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
