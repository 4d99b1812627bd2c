(function (hosts, zone, root) {
  // hosts: " a.kz *.b.kz !http.kz"; zone: ".m.zone:port" by names, "" by path; root: "http://" or "https://"
  var W = self;
  function home(h) {
    for (var n = h, s = " "; n; n = n.slice(n.indexOf(".") + 1), s = " *.") {
      if (hosts.indexOf(s + n + " ") >= 0) return "https:";
      if (hosts.indexOf(s[0] + "!" + s.slice(1) + n + " ") >= 0) return "http:";
      if (n.indexOf(".") < 0) return "";
    }
  }
  function map(u) {
    if (typeof u != "string" && !(u instanceof URL)) return u;
    var a, b, h, r;
    try { a = new URL(u, b = new URL(document.baseURI)) } catch (e) { return u }
    if (!/^https?:$/.test(a.protocol)) return u;
    r = a.pathname + a.search + a.hash;
    if (!zone && a.origin == b.origin) {
      h = /^\/m\/(?:https?:)?([^\/:]+)/.exec(r);
      b = /^\/m\/[^\/]+/.exec(b.pathname);
      // Left alone: what is not in a folder of the mirror's, what leads to a host that is known or to the page's own (which may have
      // accounts and be in no list), and what was read back from an element: no site writes the mirror's own address.
      return !b || h && (home(h[1]) || (r + "/").indexOf(b[0] + "/") == 0 || /^\s*(https?:)?\/\//i.test(u)) ? u : b[0] + r;
    }
    if (!(h = home(a.hostname))) return u;
    if (!zone) return "/m/" + (h == a.protocol ? "" : a.protocol) + a.host + r;
    var l = a.hostname.replace(/-/g, "--").replace(/\./g, "-");
    if (h != a.protocol || a.port || !l.indexOf("xn--")) l = (a.protocol == "http:" ? "h" : "s") + a.port + "---" + l;
    return l.length > 63 ? root + "path" + zone + "/m/" + (h == a.protocol ? "" : a.protocol) + a.host + r : root + l + zone + r;
  }
  function each(s) { return typeof s == "string" ? s.replace(/(^|,\s*|\s)([^\s,][^\s]*)/g, function (m, b, u) { return /^(https?:)?\//.test(u) ? b + map(u) : m }) : s }
  function html(s) {
    return typeof s != "string" ? s : s.replace(/(\s(?:src|href|poster|data|action|srcset)\s*=\s*)("[^"]*"|'[^']*')/gi, function (m, b, v) {
      var u = v.slice(1, -1);
      return /^\s*(https?:)?\//i.test(u) && !/&/.test(u) ? b + v[0] + (/srcset/i.test(b) ? each(u) : map(u)) + v[0] : m;
    });
  }
  function wrap(o, n, i, f) {
    var old = o && o[n];
    if (old) o[n] = function () { var a = [].slice.call(arguments); if (a.length > i) a[i] = (f || map)(a[i]); return old.apply(this, a) };
  }
  function set(c, n, f) {
    var p = W[c] && W[c].prototype, d = p && Object.getOwnPropertyDescriptor(p, n);
    if (d && d.set) Object.defineProperty(p, n, { get: d.get, set: function (v) { d.set.call(this, f(v)) }, configurable: true, enumerable: d.enumerable });
  }
  function make(n) {
    var C = W[n];
    if (C) W[n] = new Proxy(C, { construct: function (t, a, x) { a[0] = map(a[0]); return Reflect.construct(t, a, x) } });
  }
  wrap(W, "fetch", 0, function (r) { return typeof Request != "undefined" && r instanceof Request ? (map(r.url) == r.url ? r : new Request(map(r.url), r)) : map(r) });
  wrap(XMLHttpRequest.prototype, "open", 1);
  wrap(W, "open", 0);
  wrap(Navigator.prototype, "sendBeacon", 0);
  if (!zone) { wrap(History.prototype, "pushState", 2); wrap(History.prototype, "replaceState", 2); wrap(W.ServiceWorkerContainer && ServiceWorkerContainer.prototype, "register", 0) }
  "Worker SharedWorker EventSource Audio".split(" ").forEach(make);
  "Image Script Media Source IFrame Track Embed Input".split(" ").forEach(function (c) { set("HTML" + c + "Element", "src", map) });
  "Link Anchor Area".split(" ").forEach(function (c) { set("HTML" + c + "Element", "href", map) });
  set("HTMLImageElement", "srcset", each); set("HTMLSourceElement", "srcset", each);
  set("HTMLFormElement", "action", map); set("HTMLObjectElement", "data", map); set("HTMLVideoElement", "poster", map);
  set("Element", "innerHTML", html); wrap(Element.prototype, "insertAdjacentHTML", 1, html);
  wrap(Document.prototype, "write", 0, html);
  [["setAttribute", 0], ["setAttributeNS", 1]].forEach(function (k) {
    var old = Element.prototype[k[0]];
    Element.prototype[k[0]] = function () {
      var a = [].slice.call(arguments), n = String(a[k[1]]).toLowerCase();
      if (/^(src|href|poster|data|action|xlink:href)$/.test(n)) a[k[1] + 1] = map(a[k[1] + 1]);
      else if (n == "srcset") a[k[1] + 1] = each(a[k[1] + 1]);
      return old.apply(this, a);
    };
  });
})(HOSTS, ZONE, ROOT)
