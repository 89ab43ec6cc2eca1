// The service that Restate calls: a handler that awaits one recorded step after the other.
import * as restate from "@restatedev/restate-sdk";

// Of Node 22; the SDK takes it for granted, the language had it not yet in Node 20.
Promise.withResolvers ??= function withResolvers() {
  const all = {};
  all.promise = new Promise((resolve, reject) => Object.assign(all, { resolve, reject }));
  return all;
};

let steps = 0;

const bench = restate.service({
  name: "bench",
  handlers: {
    count: async (ctx, until) => {
      let n = 0;
      while (n < until) {
        n = await ctx.run("add", () => {
          steps += 1;
          return n + 1;
        });
      }
      return steps;
    },
  },
});

restate.endpoint().bind(bench).listen(Number(process.argv[2]));
