### ls_plain
ls
### ls_A
ls -A
### ls_1
ls -1 src
### ls_R
ls -R src
### ls_d
ls -d */
### ls_glob
ls src/*.rs
### ls_t
touch -d 2030-01-01 words.txt; ls -t | head -1
### ls_missing
ls nope; echo $?
### ls_many
ls src README.md
### ls_count
ls | wc -l
### ls_empty_dir
mkdir d; ls d
### mkdir_plain
mkdir new; ls -d new
### mkdir_p
mkdir -p a/b/c; find a | sort
### mkdir_exists
mkdir src; echo $?
### mkdir_p_exists
mkdir -p src && echo fine
### mkdir_no_parent
mkdir x/y; echo $?
### rmdir_plain
mkdir d; rmdir d; ls -d d 2>/dev/null || echo gone
### rmdir_full
rmdir src; echo $?
### rmdir_p
mkdir -p a/b; rmdir -p a/b; ls -d a 2>/dev/null || echo gone
### rm_file
rm words.txt; ls *.txt
### rm_missing
rm nope; echo $?
### rm_f_missing
rm -f nope; echo $?
### rm_dir
rm src; echo $?
### rm_rf
rm -rf src; ls
### rm_glob
rm *.txt; ls
### rm_link
rm link.txt; cat README.md | head -1
### rm_space
rm "with space.txt"; ls *.txt
### cp_file
cp words.txt copy.txt; cat copy.txt
### cp_to_dir
cp words.txt src/; ls src
### cp_many
mkdir d; cp words.txt numbers.txt d; ls d
### cp_r
cp -r src dst; find dst | sort
### cp_r_into
mkdir dst; cp -r src dst; find dst | sort
### cp_dir_no_r
cp src dst; echo $?
### cp_missing
cp nope x; echo $?
### cp_n
echo keep > copy.txt; cp -n words.txt copy.txt; cat copy.txt
### cp_link
cp link.txt real.txt; [ -L real.txt ] || cat real.txt | head -1
### cp_overwrite
cp words.txt numbers.txt; cat numbers.txt
### cp_f
cp -f words.txt numbers.txt && head -1 numbers.txt
### cp_glob
mkdir d; cp src/*.rs d/; ls d
### mv_file
mv words.txt w.txt; ls *.txt
### mv_to_dir
mv words.txt src/; ls src
### mv_dir
mv src lib; find lib | sort
### mv_many
mkdir d; mv words.txt numbers.txt d/; ls d
### mv_missing
mv nope x; echo $?
### mv_overwrite
mv words.txt numbers.txt; cat numbers.txt
### mv_mode_kept
mv run.sh moved.sh; ls moved.sh
### touch_new
touch fresh.txt; ls fresh.txt; wc -c fresh.txt
### touch_c
touch -c nope; ls nope 2>/dev/null || echo none
### touch_d
touch -d '2021-03-04 05:06:07' words.txt; stat -c %Y words.txt
### touch_r
touch -r README.md words.txt; [ words.txt -nt README.md ] || echo same
### touch_many
touch a b c; ls a b c
### ln_s
ln -s words.txt wl; readlink wl; head -1 wl
### ln_s_dir
ln -s src sl; ls sl
### ln_sf
ln -sf numbers.txt link.txt; readlink link.txt
### ln_s_exists
ln -s x link.txt; echo $?
### link_write
echo more >> link.txt; tail -1 README.md
### link_dir_read
cat dirlink/main.rs | head -1
### stat_size
stat -c %s README.md
### stat_name
stat -c '%n %F' src README.md
### stat_missing
stat -c %s nope; echo $?
### truncate_s
truncate -s 5 README.md; cat README.md
### truncate_zero
truncate -s 0 words.txt; wc -c < words.txt
### mktemp_dir
d=$(mktemp -d ./tmp.XXXXXX); [ -d "$d" ] && echo made; rmdir "$d"
### mktemp_file
t=$(mktemp ./tmp.XXXXXX); echo data > "$t"; cat "$t"; rm "$t"
### realpath_dots
realpath src/../README.md | sed 's|.*/||'
### readlink_f_dir
readlink -f dirlink/main.rs | sed 's|.*/src|src|'
### write_then_read
for i in 1 2 3; do echo "line $i" >> log2.txt; done; wc -l log2.txt
### replace_in_files
grep -rl 'fn' src | xargs sed -i 's/fn/function/g'; grep -rc function src | sort
### bulk_rename
for f in src/*.rs; do mv "$f" "${f/.rs/.txt}"; done; ls src
### line_count_by_ext
for e in rs txt md; do echo "$e $(find . -name "*.$e" | wc -l)"; done
### dedupe_file
sort -u words.txt -o words.txt && cat words.txt
### insert_license
for f in src/*.rs; do { echo '// header'; cat "$f"; } > t && mv t "$f"; done; head -1 src/*.rs
### csv_to_json
awk -F, 'NR>1 {printf "{\"name\":\"%s\",\"age\":%s}\n", $1, $3}' data.csv | jq -sc .
### json_to_env
jq -r '.meta | to_entries[] | "\(.key)=\(.value)"' data.json
### ini_lookup
awk -F= '/^\[server\]/{f=1;next} /^\[/{f=0} f&&$1=="port"{print $2}' config.ini
### log_levels
for l in INFO WARN ERROR; do printf '%s %d\n' "$l" "$(grep -c $l log.txt)"; done
### top_words
tr -s ' ' '\n' < README.md | tr -d '.,' | tr A-Z a-z | sort | uniq -c | sort -k1,1nr -k2 | head -5
### transpose
awk -F, '{for(i=1;i<=NF;i++) a[NR,i]=$i; n=NF} END {for(i=1;i<=n;i++){s=a[1,i]; for(j=2;j<=NR;j++) s=s","a[j,i]; print s}}' data.csv
### extract_between
sed -n '/fn main/,/^}/p' src/main.rs
### backup_all
mkdir -p bak && cp *.txt bak/ && ls bak | wc -l
### diff_patch
cp words.txt new.txt; sed -i 's/apple/pear/' new.txt; diff words.txt new.txt > p.diff; wc -l p.diff
### count_tasks
grep -rn TASKS . | wc -l
### tree_by_find
find . -not -path '*/.*' -type f | sed 's|^\./||' | sort
### largest_file
find . -type f -printf '%s %p\n' | sort -rn | head -1 | awk '{print $2}'
### concat_with_names
for f in src/*.rs; do echo "== $f"; cat "$f"; done
### append_line_if_missing
grep -qxF 'new line' words.txt || echo 'new line' >> words.txt; tail -1 words.txt
### number_padding
for i in 1 2 3; do printf 'file_%03d\n' "$i"; done
### crlf_to_lf
sed -i 's/\r$//' crlf.txt; cat -A crlf.txt
### file_ext_loop
for f in *; do [ -f "$f" ] && echo "${f##*.}"; done | sort | uniq -c
### du_like
find src -type f -printf '%s\n' | awk '{s+=$1} END {print s}'
### check_files
for f in README.md nope.txt; do [[ -f $f ]] && echo "ok $f" || echo "missing $f"; done
### stdin_script_args
set -- --name=x --flag; for a in "$@"; do case $a in --*=*) echo "${a%%=*} -> ${a#*=}";; --*) echo "$a";; esac; done
