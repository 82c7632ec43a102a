### grep_plain
grep fn src/main.rs
### grep_n
grep -n fn src/main.rs
### grep_i
grep -i TASKS README.md
### grep_v
grep -v a words.txt
### grep_c
grep -c a words.txt
### grep_r
grep -r fn src | sort
### grep_rn
grep -rn 'fn ' src | sort
### grep_rl
grep -rl fn src | sort
### grep_L
grep -L fn src/*.rs README.md
### grep_include
grep -rn --include='*.rs' use src | sort
### grep_exclude_dir
grep -rl a . --exclude-dir=src | sort
### grep_E
grep -E '^(apple|cherry)$' words.txt
### grep_o
grep -oE '[0-9]+' log.txt
### grep_w
grep -w an README.md; echo $?
### grep_x
grep -x apple words.txt
### grep_F
grep -F 'a.b' README.md; echo $?
### grep_A
grep -A1 ERROR log.txt
### grep_B
grep -B1 ERROR log.txt
### grep_C
grep -n -C1 WARN log.txt
### grep_q
grep -q apple words.txt && echo found
### grep_q_missing
grep -q nothing words.txt || echo none
### grep_m
grep -m1 INFO log.txt
### grep_e_many
grep -e apple -e cherry words.txt
### grep_f
printf 'apple\ncherry\n' > p; grep -f p words.txt
### grep_h
grep -h fn src/main.rs src/lib.rs
### grep_H
grep -H fn src/main.rs
### grep_P
grep -oP '(?<=level=)\w+' log.txt
### grep_P_digits
grep -P '\d{3}' log.txt
### grep_backref
printf 'abab\nabcd\n' | grep -E '(ab)\1'
### grep_class
grep '[[:digit:]]' config.ini
### grep_anchor
grep '^#' README.md
### grep_missing_file
grep x nope.txt; echo $?
### grep_stdin
cat log.txt | grep -c INFO
### grep_color_never
grep --color=never apple words.txt
### grep_binary
grep text binary.bin; echo $?
### grep_s
grep -s x nope.txt words.txt; echo $?
### grep_dot_all
grep -c . log.txt
### grep_empty_lines
grep -n '^$' README.md
### egrep_alt
egrep 'apple|banana' words.txt
### fgrep_dot
fgrep . README.md | head -2
### grep_line_count_sum
grep -c fn src/*.rs | awk -F: '{s+=$2} END {print s}'
### grep_glob_dirs
grep -rn "version" --include=*.ini --include=*.json . | sort
### find_name
find . -name '*.rs' | sort
### find_type_f
find . -type f | sort
### find_type_d
find . -type d | sort
### find_type_l
find . -type l | sort
### find_maxdepth
find . -maxdepth 1 -type f | sort
### find_mindepth
find . -mindepth 2 -name '*.txt' | sort
### find_not
find . -type f ! -name '*.rs' | sort
### find_or
find . \( -name '*.md' -o -name '*.ini' \) | sort
### find_iname
find . -iname 'readme*'
### find_path
find . -path './src/*' -name '*.rs' | sort
### find_prune
find . -path ./src -prune -o -type f -print | sort
### find_empty
find . -empty | sort
### find_size
find . -type f -size +1k | sort
### find_size_bytes
find . -type f -size -20c | sort
### find_exec
find . -name '*.rs' -exec wc -l {} \; | sort
### find_exec_plus
find src -name '*.rs' -exec grep -l fn {} + | sort
### find_exec_basename
find . -name '*.txt' -exec basename {} \; | sort
### find_print0_xargs
find . -name '*.txt' -print0 | xargs -0 wc -c | tail -1
### find_delete
find . -name '*.txt' -delete; find . -name '*.txt'
### find_printf
find src -name '*.rs' -printf '%f %s\n' | sort
### find_printf_path
find src -type f -printf '%P\n' | sort
### find_regex
find . -regex '.*/[a-m]*\.rs' | sort
### find_newer
touch -d 2030-01-01 README.md; find . -newer words.txt -type f
### find_mtime
find . -type f -mtime +1000 -name '*.md'
### find_quit
find src -name '*.rs' -type f | wc -l
### find_count_ext
find . -type f | sed 's/.*\.//' | sort | uniq -c
### find_missing
find nope; echo $?
### find_while_read
find . -name '*.rs' -print | sort | while read -r f; do echo "file: $f"; done
### find_while_read0
find . -name '*.txt' -print0 | sort -z | while IFS= read -r -d '' f; do printf '<%s>\n' "$f"; done
### xargs_plain
echo a b c | xargs echo
### xargs_n
echo a b c | xargs -n1 echo
### xargs_I
printf 'a\nb\n' | xargs -I{} echo "item {}"
### xargs_I_multi
ls src/*.rs | xargs -I F cp F F.bak; ls src
### xargs_grep
ls src/*.rs | xargs grep -l fn | sort
### xargs_wc
find src -name '*.rs' | sort | xargs wc -l
### xargs_empty
printf '' | xargs -r echo nothing
### xargs_d
printf 'a,b,c' | xargs -d, -n1 echo
### xargs_rm
touch t1.tmp t2.tmp; ls *.tmp | xargs rm; ls
### xargs_bash
printf '1\n2\n' | xargs -I{} bash -c 'echo $(( $0 * 2 ))' {}
### sed_s
sed 's/apple/orange/' words.txt
### sed_g
sed 's/a/A/g' words.txt
### sed_i_flag
sed 's/APPLE/x/I' words.txt
### sed_nth
echo aaaa | sed 's/a/b/2'
### sed_p
sed -n '2,3p' words.txt
### sed_single_line
sed -n '2p' README.md
### sed_last
sed -n '$p' words.txt
### sed_d
sed '1d' words.txt
### sed_d_regex
sed '/an/d' words.txt
### sed_d_blank
sed '/^$/d' README.md
### sed_E
sed -E 's/([a-z]+),([a-z]+)/\2,\1/' data.csv
### sed_groups
echo 'key=value' | sed 's/\(.*\)=\(.*\)/\2=\1/'
### sed_amp
sed 's/[0-9]\+/<&>/g' log.txt
### sed_delim
echo /usr/bin | sed 's|/usr|/opt|'
### sed_inplace
sed -i 's/apple/orange/' words.txt; cat words.txt
### sed_inplace_backup
sed -i.bak 's/apple/orange/' words.txt; ls words*; cat words.txt.bak
### sed_many_e
sed -e 's/a/1/' -e 's/b/2/' words.txt
### sed_semicolons
sed 's/a/1/;s/b/2/' words.txt
### sed_range_regex
sed -n '/INFO/,/ERROR/p' log.txt
### sed_append
sed '/banana/a after' words.txt
### sed_insert
sed '1i header' words.txt
### sed_change
sed '/apple/c\changed' words.txt
### sed_y
sed 'y/abc/xyz/' words.txt
### sed_q
sed 2q words.txt
### sed_equals
sed -n '/an/=' words.txt
### sed_join_lines
sed ':a;N;$!ba;s/\n/,/g' words.txt
### sed_trim
echo '  trim me  ' | sed 's/^[ \t]*//;s/[ \t]*$//'
### sed_upper
echo hello | sed 's/.*/\U&/'
### sed_first_upper
echo 'hello world' | sed 's/\b./\u&/g'
### sed_newline_repl
echo a,b | sed 's/,/\n/'
### sed_step
seq 10 | sed -n '0~3p'
### sed_not
sed -n '/a/!p' words.txt
### sed_block
sed -n '/apple/{s/a/A/;p}' words.txt
### sed_file_script
echo 's/a/Z/' > s.sed; sed -f s.sed words.txt
### sed_hold
sed -n '1!G;h;$p' words.txt
### sed_w
sed -n '/an/w out.txt' words.txt; cat out.txt
### sed_crlf
sed 's/\r$//' crlf.txt
### sed_var
name=banana; sed "s/$name/FOUND/" words.txt
### sed_delete_range
sed '/\[server\]/,/^$/d' config.ini
### sed_missing
sed -n 1p nope.txt; echo $?
### sed_read_file
sed '/banana/r config.ini' words.txt
### sed_n_lines
sed = words.txt | sed 'N;s/\n/ /'
### awk_field
awk '{print $1}' log.txt
### awk_F
awk -F, '{print $2}' data.csv
### awk_nf
awk '{print NF, $NF}' log.txt
### awk_sum
awk '{s += $1} END {print s}' numbers.txt
### awk_avg
awk '{s += $1; n++} END {printf "%.2f\n", s/n}' numbers.txt
### awk_filter
awk -F, '$3 > 30 {print $1}' data.csv
### awk_skip_header
awk -F, 'NR > 1 {print $1, $3}' data.csv
### awk_nr
awk 'NR==2' words.txt
### awk_range
awk 'NR>=2 && NR<=3' words.txt
### awk_regex
awk '/ERROR/ {print $0}' log.txt
### awk_not_regex
awk '!/INFO/' log.txt
### awk_count
awk '{c[$3]++} END {for (k in c) print k, c[k]}' log.txt | sort
### awk_dedupe
awk '!seen[$0]++' words.txt
### awk_ofs
awk 'BEGIN {FS=","; OFS=";"} {$1=$1; print}' data.csv
### awk_v
awk -v n=3 'NR<=n' words.txt
### awk_begin
awk 'BEGIN {print 1+2}'
### awk_length
awk '{print length($0)}' words.txt
### awk_substr
awk '{print substr($0, 1, 3)}' words.txt
### awk_split
echo a:b:c | awk '{n = split($0, p, ":"); print n, p[2]}'
### awk_gsub
awk '{gsub(/a/, "A"); print}' words.txt
### awk_sub
awk '{sub(/a/, "X"); print}' words.txt
### awk_toupper
awk '{print toupper($0)}' words.txt
### awk_printf
awk -F, '{printf "%-10s %5s\n", $1, $3}' data.csv
### awk_max
awk 'NR==1 || $1>m {m=$1} END {print m}' numbers.txt
### awk_for
awk 'BEGIN {for (i=1; i<=3; i++) print i*i}'
### awk_while
awk 'BEGIN {i=3; while (i>0) {print i; i--}}'
### awk_ternary
awk '{print ($1 > 10 ? "big" : "small")}' numbers.txt
### awk_two_files
awk 'NR==FNR {a[$1]; next} $1 in a' words.txt words.txt | head -2
### awk_index
awk '{print index($0, "an")}' words.txt
### awk_match
echo 'x=123' | awk '{if (match($0, /[0-9]+/)) print substr($0, RSTART, RLENGTH)}'
### awk_function
awk 'function f(x) {return x*2} {print f($1)}' numbers.txt | head -2
### awk_multi_pattern
awk '/apple/ {print "A"} /banana/ {print "B"}' words.txt
### awk_next
awk '/apple/ {next} {print}' words.txt
### awk_exit
awk 'NR==2 {exit 3} {print}' words.txt; echo $?
### awk_concat
awk '{print $1 "-" $2}' log.txt | head -1
### awk_rs
printf 'a b\n\nc d\n' | awk 'BEGIN{RS=""} {print NR": "$1}'
### awk_sprintf
awk 'BEGIN {x = sprintf("%03d", 7); print x}'
### awk_filename
awk 'END {print FILENAME}' words.txt
### awk_delete
awk 'BEGIN {a[1]=1; a[2]=2; delete a[1]; print length(a)}'
### awk_tolower
echo ABC | awk '{print tolower($1)}'
### awk_column_sum
awk -F, 'NR>1 {t[$2]+=$3} END {for (k in t) print k"="t[k]}' data.csv | sort
### awk_last_line
awk 'END {print}' words.txt
### awk_div
awk 'BEGIN {print 10/3; print int(10/3); print 10%3; print 2^3}'
### awk_stdin_dash
echo x | awk '{print $0}' -
### jq_field
jq .name data.json
### jq_raw
jq -r .name data.json
### jq_array
jq '.items[]' data.json
### jq_compact
jq -c . data.json
### jq_keys
jq keys data.json
### jq_length
jq '.items | length' data.json
### jq_map
jq -c '[.items[].id]' data.json
### jq_select
jq -r '.items[] | select(.price > 5) | .label' data.json
### jq_sum
jq '[.items[].price] | add' data.json
### jq_sort_by
jq -c '.items | sort_by(.price) | map(.label)' data.json
### jq_arg
jq --arg x hello '.greeting = $x' data.json
### jq_argjson
jq -c --argjson n 5 '{n: $n}' data.json
### jq_n
jq -n '{a: 1}'
### jq_s
printf '1\n2\n3\n' | jq -s add
### jq_e
jq -e .missing data.json; echo $?
### jq_tsv
jq -r '.items[] | [.id, .label] | @tsv' data.json
### jq_csv
jq -r '.items[] | [.id, .label] | @csv' data.json
### jq_interp
jq -r '.items[] | "\(.id): \(.label)"' data.json
### jq_to_entries
jq -c 'to_entries | map(.key)' data.json
### jq_group
jq -c '.items | group_by(.label | length) | map(length)' data.json
### jq_has
jq 'has("name")' data.json
### jq_del
jq -c 'del(.items)' data.json
### jq_test
jq -r '.items[] | select(.label | test("^w")) | .id' data.json
### jq_split
jq -nc '"a,b,c" | split(",")'
### jq_first
jq -c 'first(.items[])' data.json
### jq_range
jq -nc '[range(3)]'
### jq_reduce
jq -n 'reduce (1,2,3) as $x (0; . + $x)'
### jq_if
jq -n 'if 1 > 2 then "a" else "b" end'
### jq_alt
jq -r '.missing // "default"' data.json
### jq_slurp_lines
printf 'a\nb\n' | jq -R . | jq -sc .
### jq_invalid
#! differs: the exit code for text that is no JSON changed from version to version of jq; here it is that of jq 1.7
echo '{bad' | jq . 2>/dev/null; echo $?
### jq_edit_file
jq '.version = 2' data.json > new.json && jq .version new.json
### jq_sort_keys
jq -S . data.json
### jq_tab
jq --tab .meta data.json
### jq_recurse
jq -c '[.. | numbers]' data.json
### jq_path
jq -c '[paths | map(tostring) | join(".")]' data.json
