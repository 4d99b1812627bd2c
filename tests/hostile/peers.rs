//! Other proxies under the same cases: Debian's squid, traffic server, apache, nginx and varnish, each as a careful person sets it up:
//! caching on, tunnels only to the ports of the web and of the test's origin, addresses out of bounds refused. Each in a folder and on
//! a port of its own, ended by its id.

use crate::kit;
use crate::kit::program::{self, Running};
use crate::origin::Origin;
use crate::table::{self, Outcome, Proxy};
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use tempfile::TempDir;

/// Runs all cases against the proxy of this name, or at this address: then its origin is at every address of 127.8.0.0/13, at the port
/// that `BULAK_HOSTILE_PORT` names.
pub(crate) fn run(name: &str) -> Outcome {
    if let Ok(proxy) = name.parse::<SocketAddr>() {
        let port = std::env::var("BULAK_HOSTILE_PORT").ok().and_then(|text| text.parse().ok());
        let origin = Origin::start(port.expect("BULAK_HOSTILE_PORT names the origin's port"));
        return table::run(&format!("port-{}", proxy.port()), &proxy, &origin, table::nameless());
    }
    let origin = Origin::start(0);
    let peer = Peer { name: name.to_owned(), origin: origin.port, running: Mutex::new(Started::new(name, origin.port)) };
    table::run(name, &peer, &origin, table::nameless())
}

/// A peer, and its newest incarnation.
struct Peer {
    name: String,
    origin: u16,
    running: Mutex<Started>,
}

impl Proxy for Peer {
    fn addr(&self) -> SocketAddr {
        self.running.lock().expect("no panic").addr
    }

    fn is_replaceable(&self) -> bool {
        true
    }

    fn replace(&self, sick: SocketAddr) {
        let mut running = self.running.lock().expect("no panic");
        if running.addr == sick {
            *running = Started::new(&self.name, self.origin);
        }
    }
}

struct Started {
    addr: SocketAddr,
    _child: Running,
    _folder: TempDir,
}

impl Started {
    fn new(name: &str, origin: u16) -> Started {
        let folder = tempfile::tempdir().expect("a folder");
        for part in ["", "config", "run", "log", "cache"] {
            let part = folder.path().join(part);
            fs::create_dir_all(&part).expect("a folder");
            // Some of them go on as another user.
            fs::set_permissions(part, fs::Permissions::from_mode(0o777)).expect("permissions");
        }
        let (port, log) = (kit::free_port(), folder.path().join("out.log"));
        let mut command = command(name, folder.path(), port, origin);
        let mut child = program::start(&mut command, &log);
        kit::until(&format!("{name} listens"), 60, || {
            assert!(child.0.try_wait().expect("a child").is_none(), "{name} does not start: {}", kit::tail(&log, 10));
            std::net::TcpStream::connect(kit::loopback(port)).is_ok()
        });
        Started { addr: kit::loopback(port), _child: child, _folder: folder }
    }
}

fn command(name: &str, folder: &Path, port: u16, origin: u16) -> Command {
    let here = folder.display().to_string();
    let write = |file: &str, text: &str| {
        let file = folder.join(file);
        fs::write(&file, text).expect("a file");
        file
    };
    let need = |program: &str, package: &str| {
        program::find(program).unwrap_or_else(|| panic!("{program} is missing: apt-get install {package}; scripts/hostile does so"))
    };
    match name {
        "squid" => {
            let file = write("squid.conf", &squid(&here, port, origin));
            let mut command = Command::new(need("squid", "squid"));
            command.arg("-N").arg("-f").arg(file);
            command
        }
        "trafficserver" => {
            write("config/records.config", &records(&here, port, origin));
            write("config/ip_allow.yaml", IP_ALLOW);
            write("config/storage.config", &format!("{here}/cache 256M\n"));
            for empty in ["remap", "plugin", "cache", "parent", "hosting", "volume"] {
                write(&format!("config/{empty}.config"), "");
            }
            write("runroot.yaml", &RUNROOT.replace("HERE", &here));
            let mut command = Command::new(need("traffic_server", "trafficserver"));
            command.arg(format!("--run-root={here}"));
            command
        }
        "apache" => {
            let file = write("apache.conf", &apache(&here, port, origin));
            let mut command = Command::new(need("apache2", "apache2"));
            command.arg("-X").arg("-f").arg(file);
            command
        }
        "nginx" => {
            let file = write("nginx.conf", &nginx(&here, port, origin));
            let mut command = Command::new(need("nginx", "nginx-light"));
            command.arg("-p").arg(folder).arg("-c").arg(file).arg("-e").arg(folder.join("error.log"));
            command
        }
        "varnish" => {
            let file = write("default.vcl", &varnish(origin));
            let mut command = Command::new(need("varnishd", "varnish"));
            command.args(["-F", "-j", "none", "-a", &format!("127.0.0.1:{port}"), "-s", "malloc,256m"]);
            // So many origins take a minute to compile otherwise.
            command.args(["-p", "cc_command=exec gcc -O0 -w -fpic -shared -Wl,-x -o %o %s"]);
            command.arg("-f").arg(file).arg("-n").arg(folder.join("run"));
            command
        }
        other => panic!("{other} is none of squid, trafficserver, apache, nginx, varnish, and no address"),
    }
}

fn squid(here: &str, port: u16, origin: u16) -> String {
    format!(
        "http_port 127.0.0.1:{port}\n\
         acl CONNECT method CONNECT\nacl ports port 80 443 {origin}\nacl ours dst 127.8.0.0/13\n\
         acl inside dst 0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.168.0.0/16 224.0.0.0/3 ::1 fe80::/10 fc00::/7\n\
         http_access deny inside !ours\nhttp_access deny CONNECT !ports\nhttp_access allow all\n\
         pid_filename {here}/squid.pid\ncache_log {here}/cache.log\naccess_log none\ncache_store_log none\ncoredump_dir {here}\n\
         cache_mem 256 MB\nmaximum_object_size_in_memory 32 MB\nmemory_cache_shared off\npinger_enable off\n\
         shutdown_lifetime 0 seconds\nvisible_hostname squid.hostile.test\nnetdb_filename none\n"
    )
}

fn records(here: &str, port: u16, origin: u16) -> String {
    format!(
        "CONFIG proxy.config.http.server_ports STRING {port}:ip-in=127.0.0.1\nCONFIG proxy.config.admin.user_id STRING #-1\n\
         CONFIG proxy.config.crash_log_helper STRING NULL\nCONFIG proxy.config.reverse_proxy.enabled INT 0\n\
         CONFIG proxy.config.url_remap.remap_required INT 0\nCONFIG proxy.config.http.cache.http INT 1\n\
         CONFIG proxy.config.http.connect_ports STRING 443 {origin}\nCONFIG proxy.config.log.logging_enabled INT 0\n\
         CONFIG proxy.config.exec_thread.autoconfig INT 0\nCONFIG proxy.config.exec_thread.limit INT 2\n\
         CONFIG proxy.config.body_factory.template_sets_dir STRING {here}/config\n"
    )
}

const IP_ALLOW: &str = "ip_allow:
  - apply: in
    ip_addrs: 0/0
    action: allow
    methods: ALL
  - apply: out
    ip_addrs: 127.8.0.0-127.15.255.255
    action: allow
    methods: ALL
  - apply: out
    ip_addrs: [0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16, 224.0.0.0/3, '::1', 'fe80::/10', 'fc00::/7']
    action: deny
    methods: ALL
";

const RUNROOT: &str = "prefix: /usr
exec_prefix: /usr
bindir: /usr/bin
sbindir: /usr/sbin
sysconfdir: HERE/config
datadir: HERE/cache
includedir: /usr/include
libdir: /usr/lib/trafficserver
libexecdir: /usr/lib/trafficserver/modules
localstatedir: HERE/run
runtimedir: HERE/run
logdir: HERE/log
cachedir: HERE/cache
";

fn apache(here: &str, port: u16, origin: u16) -> String {
    let modules = ["mpm_event", "authz_core", "proxy", "proxy_http", "proxy_connect", "cache", "cache_disk"];
    let modules = modules.map(|name| format!("LoadModule {name}_module modules/mod_{name}.so\n")).concat();
    format!(
        "ServerRoot /usr/lib/apache2\nServerName apache.hostile.test\nListen 127.0.0.1:{port}\nPidFile {here}/apache.pid\n\
         ErrorLog {here}/error.log\nDefaultRuntimeDir {here}/run\n{modules}User www-data\nGroup www-data\n\
         ServerLimit 1\nStartServers 1\nThreadsPerChild 64\nMaxRequestWorkers 64\nTraceEnable off\n\
         ProxyRequests On\nProxyVia On\nAllowCONNECT 443 {origin}\nProxyBlock 127.200. 127.0.0. 169.254. localhost\n\
         CacheRoot {here}/cache\nCacheQuickHandler off\n<Proxy *>\nCacheEnable disk\nRequire all granted\n</Proxy>\n"
    )
}

/// nginx is no forward proxy: it passes on by the host it was asked for, which makes it one for plain HTTP.
fn nginx(here: &str, port: u16, origin: u16) -> String {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {here}/tmp-{kind};\n"));
    format!(
        "daemon off; master_process off; pid {here}/nginx.pid; worker_rlimit_nofile 8192;\nevents {{ worker_connections 4096; }}\n\
         http {{ access_log off;\n{}proxy_cache_path {here}/cache keys_zone=z:8m;\nserver {{ listen 127.0.0.1:{port};\n\
         if ($host !~ \"^127\\.(8|9|1[0-5])\\.\") {{ return 403; }}\nlocation / {{ proxy_pass http://$host:{origin}$request_uri; \
         proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host:{origin};\n\
         proxy_cache z; proxy_cache_revalidate on; }} }} }}\n",
        temporary.concat()
    )
}

/// varnish knows its origins by name: one for each case.
fn varnish(origin: u16) -> String {
    let mut hosts = vec![crate::origin::healthy(origin)];
    for number in 1..=u16::try_from(table::nameless().len()).expect("fewer cases than addresses") {
        let place = crate::fill::Place { number, port: origin, proxy: kit::loopback(0) };
        hosts.push(SocketAddr::from((place.ip(), origin)));
    }
    let (mut backends, mut choice) = (String::new(), String::from("sub vcl_recv {\n"));
    for (number, host) in hosts.iter().enumerate() {
        writeln!(backends, "backend b{number} {{ .host = \"{}\"; .port = \"{origin}\"; }}", host.ip()).expect("a string grows");
        writeln!(choice, "if (req.http.host == \"{host}\") {{ set req.backend_hint = b{number}; }}").expect("a string grows");
    }
    // The built-in rules about methods, logins and cookies follow.
    let rules = "if (req.method == \"PRI\" || req.method == \"CONNECT\") { return (synth(405)); }\n\
                 if (req.backend_hint == default) { return (synth(403)); }\n}\n";
    format!("vcl 4.1;\nbackend default none;\n{backends}{choice}{rules}")
}
