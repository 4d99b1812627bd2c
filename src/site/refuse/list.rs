//! The names themselves, by kind. Each stands for itself and everything below it.
//!
//! From public knowledge: registers of second-level banks and state services of Kazakhstan, the vendors' published lists of
//! hosts that must not be inspected (Microsoft, Apple, Google), the lists that public resolvers and messengers give of
//! themselves. A name that is listed without need costs a cache hit, a name that is missing costs somebody's privacy.

use super::Category;

/// First labels that are personal on account hosts: interfaces that answer by token, and where files of pupils lie.
pub(super) const ACCOUNT_PERSONAL: &str = "
    api avatar avatars cabinet chat clientoffice files graphql jitsi journal lk meet member messages messenger my
    profile push schools uploads user userfiles users video-call ws
";

/// First labels that mean a sign-in, a mailbox or a purse anywhere.
pub(super) const SIGN_IN: &str = "
    account accounts adfs auth auth0 authn authserver autodiscover cas checkout doh esia id identity idm idp imap
    keycloak login logon mail oauth oauth2 openid passport pay payment payments pop3 saml secure signin signon smtp sso
    sts vpn webmail
";

/// Sign-in labels that a CA's constraints exclude below each listed host: the ones that large sites use, the commonest first. A
/// constraint knows no wildcard, and each costs some 30 bytes.
pub(super) const SIGN_IN_KNOWN: &str =
    "accounts login id auth account sso passport oauth mail signin pay identity webmail checkout payments";

/// Second labels under which a country's registry sells names: `com.kz`, `edu.kz`, `co.uk`.
pub(super) const SECOND: &str = "ac co com edu gov mil net org";

/// Domains below which strangers have names of their own, beside those with a second label (the Public Suffix List, in part).
pub(super) const SHARED: &str = "
    msk.ru spb.ru nov.ru pp.ru home.arpa eu.org eu.com ru.com uk.com us.com
    github.io gitlab.io githubusercontent.com pages.dev workers.dev vercel.app netlify.app herokuapp.com web.app
    firebaseapp.com appspot.com run.app blogspot.com translate.goog azurewebsites.net azureedge.net cloudapp.net
    windows.net amazonaws.com cloudfront.net elasticbeanstalk.com digitaloceanspaces.com fly.dev onrender.com deno.dev
    surge.sh glitch.me repl.co readthedocs.io wordpress.com wixsite.com weebly.com tilda.ws ucoz.ru narod.ru
    duckdns.org ddns.net dyndns.org no-ip.org sslip.io nip.io ngrok.io ngrok.app trycloudflare.com
";

/// E-diaries and their kin, then platforms and drives with accounts of pupils and teachers; with all their subdomains.
pub(super) const ACCOUNT: &str = "
    kundelik.kz dnevnik.ru school.mosreg.ru bilimclass.kz edus.kz mektep.edu.kz e-mektep.kz bilimal.kz platonus.kz
    sms.nis.edu.kz sdo.kz

    onlinemektep.org onlinemektep.net onlinemektep.kz bilimland.kz bilimland.com imektep.kz itest.kz twig-bilim.kz
    daryn.online opiq.kz topiq.kz kitap.kz ustaz.kz ustazdiary.kz orleu-edu.kz qalan.kz joo.kz testcenter.kz uchi.ru
    classroom.google.com drive.google.com docs.google.com sites.google.com forms.gle photos.google.com
    googleusercontent.com teams.microsoft.com sharepoint.com onedrive.live.com 1drv.ms office.com moodlecloud.com
    edmodo.com classdojo.com kahoot.it quizizz.com padlet.com seesaw.me canva.com disk.yandex.kz disk.yandex.ru
    dropbox.com dropboxusercontent.com
";

/// Personal hosts with all their subdomains, by kind.
pub(super) const PERSONAL: &[(Category, &str)] = &[
    (
        Category::Diary,
        "
            login.kundelik.kz api.kundelik.kz login.dnevnik.ru api.dnevnik.ru messages.dnevnik.ru api.bilimclass.kz
            api.onlinemektep.org api.onlinemektep.net member.daryn.online jitsi.onlinemektep.org
        ",
    ),
    (
        Category::State,
        "
            gov.kz egov.kz egov.press pki.gov.kz ncalayer.kz ezsigner.kz nitec.kz digitalid.kz idp.kz sigex.kz eds.kz iac.kz
            nobd.iac.kz nobd.edu.kz indigo.edu.kz balabaqsha.open-almaty.kz indigo-edu.kz enpf.kz gfss.kz enbek.kz hr.enbek.kz
            kgd.gov.kz salyk.kz isna.kz sud.kz goszakup.gov.kz zakup.sk.kz elicense.kz stat.gov.kz mvd.kz migration.kz
            gosreestr.kz eotinish.kz dialog.egov.kz openbudget.kz e-otinish.kz smartbridge.kz gosuslugi.ru mos.ru nalog.ru
            my.gov.uz esia.gosuslugi.ru
        ",
    ),
    (
        Category::Bank,
        "
            nationalbank.kz kaspi.kz kaspibank.kz halykbank.kz halykmarket.kz homebank.kz jusan.kz jusanbank.kz jmart.kz
            alataucitybank.kz forte.kz fortebank.com bcc.kz bankcenter.kz eubank.kz smartbank.kz bankrbk.kz berekebank.kz
            sberbank.kz sberbank.ru sber.ru altynbank.kz altyn-i.kz freedombank.kz bankffin.kz ffin.kz otbasybank.kz hcsbk.kz
            nurbank.kz homecredit.kz vtb-bank.kz vtb.ru tinkoff.ru tbank.ru tengribank.kz asiacreditbank.kz al-hilal.kz
            alhilalbank.kz zamanbank.kz shinhan.kz kzibank.kz bankchina.kz icbcalmaty.kz citibank.kz citi.com kdb.kz post.kz
            kazpost.kz epay.kz epay.homebank.kz processing.kz paybox.money paybox.kz freedompay.kz freedompay.money
            cloudpayments.kz cloudpayments.ru onevisionpay.com wooppay.com kassa24.kz onay.kz avtobys.kz qiwi.com qiwi.kz
            yoomoney.ru webmoney.ru wmtransfer.com unistream.com westernunion.com paypal.com paypalobjects.com stripe.com
            stripe.network adyen.com braintreegateway.com squareup.com wise.com revolut.com visa.com mastercard.com
            americanexpress.com binance.com bybit.com coinbase.com pay.google.com payments.google.com wallet.google.com 1cb.kz
            mfo.kz
        ",
    ),
    (
        Category::Mail,
        "
            mail.ru mail.kz bk.ru inbox.ru list.ru gmail.com googlemail.com mail.google.com inbox.google.com outlook.com
            outlook.live.com outlook.office.com outlook.office365.com hotmail.com mail.yahoo.com mail.yandex.ru mail.yandex.kz
            mail.yandex.com rambler.ru proton.me protonmail.com tutanota.com tuta.com zoho.com fastmail.com gmx.net gmx.com
            aol.com icloud.com icloud-content.com me.com
        ",
    ),
    (
        Category::Messenger,
        "
            telegram.org telegram.me t.me tdesktop.com telegra.ph whatsapp.com whatsapp.net wa.me signal.org whispersystems.org
            viber.com discord.com discord.gg discordapp.com discordapp.net messenger.com facebook.com facebook.net fbcdn.net
            fb.com instagram.com cdninstagram.com threads.net threads.com vk.com vk.ru vk.me userapi.com vkuserphoto.ru
            vkuser.net ok.ru odnoklassniki.ru mycdn.me max.ru oneme.ru tiktok.com tiktokcdn.com tiktokv.com snapchat.com
            sc-cdn.net twitter.com x.com twimg.com linkedin.com pinterest.com imo.im wechat.com weixin.qq.com line.me kakao.com
            element.io matrix.org skype.com zoom.us zoom.com webex.com slack.com slack-edge.com meet.google.com chat.google.com
            messages.google.com voice.google.com jit.si aitu.io tinder.com badoo.com
        ",
    ),
    (
        Category::Health,
        "
            damumed.kz dmed.kz medelement.com fms.kz eisz.kz med.kz idoctor.kz doq.kz ezdrav.kz cmt.kz kdlolymp.kz invitro.kz
            olymp.kz helix.kz doctis.kz 103.kz zdrav.kz rcrz.kz telefon-doveria.kz telefon150.kz 111.kz
        ",
    ),
    (
        Category::Identity,
        "
            accounts.google.com accounts.google.kz accounts.youtube.com myaccount.google.com oauthaccountmanager.googleapis.com
            identitytoolkit.googleapis.com securetoken.googleapis.com oauth2.googleapis.com login.microsoftonline.com
            login.microsoft.com login.windows.net login.live.com live.com microsoftonline.com microsoftonline-p.com msauth.net
            msftauth.net msidentity.com account.microsoft.com account.live.com appleid.apple.com idmsa.apple.com
            appleid.cdn-apple.com passport.yandex.ru passport.yandex.kz passport.yandex.com oauth.yandex.ru oauth.telegram.org
            id.vk.com id.kaspi.kz okta.com oktacdn.com auth0.com onelogin.com duosecurity.com pingidentity.com clever.com
            recaptcha.net hcaptcha.com challenges.cloudflare.com
        ",
    ),
    (
        Category::Passwords,
        "
            bitwarden.com bitwarden.eu 1password.com 1password.eu 1passwordusercontent.com lastpass.com lastpass.eu dashlane.com
            keepersecurity.com nordpass.com roboform.com enpass.io passwords.google.com pwmgr.google.com haveibeenpwned.com
            authy.com
        ",
    ),
    (
        Category::Updates,
        "
            windowsupdate.com update.microsoft.com windowsupdate.microsoft.com delivery.mp.microsoft.com dsp.mp.microsoft.com
            prod.do.dsp.mp.microsoft.com wustat.windows.com ntservicepack.microsoft.com go.microsoft.com wdcp.microsoft.com
            wd.microsoft.com smartscreen.microsoft.com storeedgefd.dsx.mp.microsoft.com displaycatalog.mp.microsoft.com
            licensing.mp.microsoft.com activation.sls.microsoft.com sls.microsoft.com officecdn.microsoft.com config.office.com
            settings-win.data.microsoft.com apple.com cdn-apple.com apple-dns.net apple-cloudkit.com mzstatic.com itunes.com
            push.apple.com android.clients.google.com android.apis.google.com play.google.com play.googleapis.com
            play-fe.googleapis.com gvt1.com gvt2.com update.googleapis.com safebrowsing.googleapis.com clients1.google.com
            clients2.google.com clients3.google.com clients4.google.com clients6.google.com mtalk.google.com m.google.com
            omahaproxy.appspot.com tools.google.com deviceenrollmentforwindows.com devicemanagement.googleapis.com
            chromiumdash.appspot.com aus5.mozilla.org aus3.mozilla.org addons.mozilla.org versioncheck.addons.mozilla.org
            firefox.settings.services.mozilla.com content-signature-2.cdn.mozilla.net download.mozilla.org
            push.services.mozilla.com browser-update.yandex.net appgallery.huawei.com hicloud.com samsungapps.com ospserver.net
            xiaomi.net miui.com rustore.ru snapcraft.io snapcraftcontent.com kaspersky-labs.com kaspersky.com drweb.com drweb.kz
            eset.com avast.com avcdn.net avg.com malwarebytes.com steampowered.com
        ",
    ),
    (
        Category::Licences,
        "
            license.widevine.com widevine.com widevine.googleapis.com playready.microsoft.com fps.apple.com fpslicense.com
            ezdrm.com axprod.net buydrm.com keyos.com drmtoday.com castlabs.com expressplay.com irdeto.com vualto.com nagra.com
            verimatrix.com verimatrixcloud.net pallycon.com doverunner.com intertrust.com adobeprimetime.com
        ",
    ),
    (
        Category::Tunnels,
        "
            dns.google dns.google.com 8888.google cloudflare-dns.com one.one.one.one one.one cloudflareclient.com warp.plus
            quad9.net nextdns.io adguard-dns.com adguard-dns.io adguard.com doh.opendns.com opendns.com umbrella.com
            cleanbrowsing.org controld.com dns.sb dns0.eu doh.li common.dot.dns.yandex.net dns.yandex.ru mullvad.net nordvpn.com
            nordcdn.com expressvpn.com surfshark.com protonvpn.com windscribe.com tunnelbear.com cyberghostvpn.com
            privateinternetaccess.com hidemy.name hide.me psiphon.ca torproject.org getlantern.org openvpn.net wireguard.com
            tailscale.com zerotier.com relay.apple.com mask.icloud.com mask-h2.icloud.com tunnel.googlezip.net teamviewer.com
            anydesk.com rustdesk.com remotedesktop.google.com
        ",
    ),
];
