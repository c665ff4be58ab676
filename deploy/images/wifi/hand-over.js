// In the portal of the Wi-Fi set-up: leads the phone on to the speaker's page, once both are in the network of the home.
// In a page that is shown after the choice of a network it begins at once (data-now); else when the page has sent the choice.
(function () {
    "use strict";
    var page = "@PAGE@";

    function look() {
        fetch(page, { mode: "no-cors", cache: "no-store" }).then(
            function () { location.replace(page); },
            function () { setTimeout(look, 2000); }
        );
    }

    function begin() {
        // The phone may close the portal when it changes networks: the address is there to be read, and to be tapped.
        var line = document.createElement("p");
        var link = document.createElement("a");
        link.href = link.textContent = page;
        line.style.cssText = "position:fixed;bottom:0;left:0;right:0;margin:0;padding:1em;text-align:center;background:#fff;z-index:9999";
        line.appendChild(link);
        document.body.appendChild(line);
        look();
    }

    if ("now" in document.currentScript.dataset) {
        begin();
        return;
    }
    var send = window.fetch;
    window.fetch = function (address) {
        var sent = send.apply(this, arguments);
        if (address === "/connect") {
            window.fetch = send;
            sent.then(begin, begin);
        }
        return sent;
    };
})();
