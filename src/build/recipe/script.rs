//! The script that a recipe's builder runs: what comes before the recipe's own, and that.

/// Unpacks the source in the variable `SOURCE`, enters it, and applies the patches in `patches`.
const UNPACK: &str = r#"if [ -d "$SOURCE" ]; then
    cp -R "$SOURCE" source
    chmod -R u+w source
else
    mkdir source
    case "$SOURCE" in
    *.tar.gz | *.tgz) tar -xzf "$SOURCE" -C source ;;
    *.tar.xz | *.txz) tar -xJf "$SOURCE" -C source ;;
    *.tar.bz2 | *.tbz) tar -xjf "$SOURCE" -C source ;;
    *.zip) unzip -q "$SOURCE" -d source ;;
    *) tar -xf "$SOURCE" -C source ;;
    esac
fi
cd source
# An archive has all in one directory, most often.
if [ "$(ls -A | wc -l)" = 1 ] && [ -d "$(ls -A)" ]; then
    cd "$(ls -A)"
fi
for patch in $patches; do
    echo "applying $patch"
    patch -p1 <"$patch"
done
"#;

/// The whole script: `unpack` names the source to unpack.
pub(super) fn whole(unpack: Option<&str>, own: &str) -> String {
    let before = unpack.map(|name| UNPACK.replace("$SOURCE", &format!("${name}")));
    before.unwrap_or_default() + own
}
