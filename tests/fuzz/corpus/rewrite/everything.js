import a from "./a.js"; import {b as c} from '/b.mjs'; export * from "../c.js"; const d = await import("./d.js"); new Worker(new URL("w.js", import.meta.url), {type:"module"}); navigator.serviceWorker.register("/sw.js"); importScripts("x.js","y.js"); const t=`${a} import("no.js")`; /* import "no.js" */ // import "no"
const r=/import "x"/; fetch("/api");
