# One command for each case: after one that is left to the interpreter, its tool of that name does the rest of the script.
### fast_sort_no_last_newline_1
sort nonewline.txt words.txt
### fast_sort_no_last_newline_2
sort < nonewline.txt
### fast_sort_numbers_1
sort -n numbers.txt
### fast_sort_numbers_2
sort -rn numbers.txt
### fast_sort_numbers_3
sort -nr numbers.txt words.txt
### fast_sort_number_ties_1
printf '2 b\n1 z\n2 a\n02 c\nx\n-3\n' | sort -n
### fast_sort_number_ties_2
printf '2 b\n1 z\n2 a\n02 c\nx\n-3\n' | sort -rn
### fast_sort_unique_numbers_1
printf '2 b\n1 z\n2 a\n02 c\nx\n\n-3\n' | sort -nu
### fast_sort_unique_numbers_2
printf '2 b\n1 z\n2 a\n02 c\nx\n-3\n' | sort -nru
### fast_sort_fractions_and_long_numbers
printf '1.5\n1.25\n.5\n99999999999999999999\n3\n' | sort -n
### fast_sort_unique_1
sort -u words.txt
### fast_sort_unique_2
sort -ur words.txt unicode.txt
### fast_sort_unique_3
sort -r empty.txt
### fast_sort_unique_4
sort < /dev/null
### fast_sort_blank_lines_1
printf '\n\nb\n\na' | sort
### fast_sort_blank_lines_2
printf '\n' | sort
### fast_sort_missing_1
sort nope.txt words.txt; echo "code $?"
### fast_sort_missing_2
sort words.txt | head -1
### fast_sort_then_keys
sort words.txt | tail -1; sort -t, -k3 -n data.csv; sort words.txt | head -1
### fast_sort_operand_first_1
sort words.txt -r
### fast_sort_operand_first_2
sort -- words.txt
### fast_sort_dash_and_link_1
echo zebra | sort - words.txt
### fast_sort_dash_and_link_2
sort link.txt
### fast_sort_dash_and_link_3
sort dirlink/main.rs
### fast_sort_dash_and_link_4
sort ./src/../words.txt
### fast_uniq_1
uniq words.txt
### fast_uniq_2
sort words.txt | uniq -d
### fast_uniq_3
sort words.txt | uniq -u
### fast_uniq_4
sort words.txt | uniq -c
### fast_uniq_no_last_newline_1
printf 'a\na' | uniq -c
### fast_uniq_no_last_newline_2
printf 'a\n\n\nb' | uniq
### fast_uniq_no_last_newline_3
uniq empty.txt
### fast_uniq_more_1
printf 'A\na\nb\n' | uniq -i
### fast_uniq_more_2
printf 'a\na\nb\n' | uniq -cd
### fast_cut_1
cut -d, -f2 data.csv
### fast_cut_2
cut -d , -f 1,3 data.csv
### fast_cut_3
cut -f1 words.txt
### fast_cut_4
cut -d: -f2- README.md
### fast_cut_5
cut -d' ' -f-2 log.txt
### fast_cut_order_and_overlap_1
cut -d, -f3,1 data.csv
### fast_cut_order_and_overlap_2
cut -d, -f1-2,2-3 data.csv
### fast_cut_order_and_overlap_3
cut -d, -f9 data.csv
### fast_cut_order_and_overlap_4
cut -sd, -f2 README.md data.csv
### fast_cut_order_and_overlap_5
cut -d, -s -f1 README.md data.csv
### fast_cut_empty_fields_1
printf 'a,,b\n,\nnone\n' | cut -d, -f2
### fast_cut_empty_fields_2
printf 'a,,b' | cut -d, -f2,3
### fast_cut_empty_fields_3
printf '' | cut -d, -f1
### fast_cut_missing_1
cut -d, -f1 nope.txt; echo "code $?"
### fast_cut_missing_2
cut -d, -f1 data.csv | head -1
### fast_cut_missing_3
cut -c1-3 words.txt
### fast_cut_unicode_1
cut -d' ' -f2 unicode.txt
### fast_cut_unicode_2
cut -d' ' -f1 unicode.txt
### fast_tr_1
tr a-z A-Z < words.txt
### fast_tr_2
echo hello | tr el ip
### fast_tr_3
echo hello | tr a-y b-z
### fast_tr_4
tr -d aeiou < words.txt
### fast_tr_5
tr -s ' ' '\n' < log.txt | head -3
### fast_tr_classes_1
tr '[:lower:]' '[:upper:]' < words.txt
### fast_tr_classes_2
tr -d '[:digit:]' < log.txt
### fast_tr_classes_3
tr '[:upper:]' '[:lower:]' < README.md
### fast_tr_classes_4
tr -s '[:space:]' < README.md
### fast_tr_short_and_repeated_1
echo abcabc | tr abc xy
### fast_tr_short_and_repeated_2
echo aabbcc | tr -s ab
### fast_tr_short_and_repeated_3
echo aabbcc | tr -s ab xy
### fast_tr_short_and_repeated_4
echo aaa | tr aa bc
### fast_tr_short_and_repeated_5
echo a-b | tr a- xy
### fast_tr_escapes_1
printf 'a\tb\nc' | tr '\t\n' '  '
### fast_tr_escapes_2
printf 'a\\b' | tr '\\' /
### fast_tr_escapes_3
printf 'é' | tr a b
### fast_tr_escapes_4
tr -cd a-z < words.txt
### fast_tr_escapes_5
printf 'a[b]' | tr '[]' '()'
### fast_grep_1
grep INFO log.txt
### fast_grep_2
grep -n level=1 log.txt
### fast_grep_3
grep -c INFO log.txt
### fast_grep_4
grep -v INFO log.txt
### fast_grep_5
grep -l fn src/main.rs words.txt
### fast_grep_6
grep -q INFO log.txt; echo "code $?"
### fast_grep_none_1
grep nothing log.txt; echo "code $?"
### fast_grep_none_2
grep -c nothing log.txt; echo "code $?"
### fast_grep_none_3
grep -vc a words.txt
### fast_grep_none_4
grep -q nothing log.txt || echo none
### fast_grep_ends_1
grep last nonewline.txt
### fast_grep_ends_2
grep -n first nonewline.txt
### fast_grep_ends_3
grep e empty.txt
### fast_grep_ends_4
printf 'aXbXc\nX\n\nX' | grep -n X
### fast_grep_ends_5
printf 'aXbXc\nX\n\nX' | grep -vn X
### fast_grep_ends_6
printf 'aa\n' | grep -c a
### fast_grep_names_1
grep -H INFO log.txt
### fast_grep_names_2
grep -h a words.txt log.txt
### fast_grep_names_3
grep a words.txt README.md
### fast_grep_names_4
grep -c a words.txt README.md
### fast_grep_names_5
cat words.txt | grep an
### fast_grep_tree_1
grep -rn fn src | sort
### fast_grep_tree_2
grep -r pub src/ | sort
### fast_grep_tree_3
grep -rl fn . | sort
### fast_grep_tree_4
grep -rc use src | sort
### fast_grep_tree_5
grep -rh pub src | sort
### fast_grep_tree_with_a_binary_1
grep -rl text . | sort
### fast_grep_tree_with_a_binary_2
grep text binary.bin; echo "code $?"
### fast_grep_links_1
grep -r fn dirlink | sort
### fast_grep_links_2
grep INFO link.txt; echo "code $?"
### fast_grep_links_3
grep -l README link.txt
### fast_grep_patterns_that_are_expressions_1
grep '^use' src/main.rs
### fast_grep_patterns_that_are_expressions_2
grep 'a.*a' words.txt
### fast_grep_patterns_that_are_expressions_3
grep -E 'apple|date' words.txt
### fast_grep_patterns_that_are_expressions_4
grep -F 'println!("{}"' src/main.rs
### fast_grep_patterns_that_are_expressions_5
grep 'println!("{}"' src/main.rs
### fast_grep_patterns_that_are_expressions_6
grep -E 'a(' words.txt; echo "code $?"
### fast_grep_dash_e_1
grep -e apple words.txt
### fast_grep_dash_e_2
grep -- -tasks README.md
### fast_grep_dash_e_3
grep words.txt -e date
### fast_grep_dash_e_4
grep -i APPLE words.txt
### fast_grep_dash_e_5
grep -w an words.txt; echo "code $?"
### fast_grep_missing_1
grep x nope.txt; echo "code $?"
### fast_grep_missing_2
grep -s x nope.txt words.txt
### fast_grep_missing_3
grep apple nope.txt words.txt; echo "code $?"
### fast_grep_missing_4
grep apple src; echo "code $?"
### fast_sed_replace_1
sed 's/INFO/info/' log.txt
### fast_sed_replace_2
sed 's/a/A/' words.txt
### fast_sed_replace_3
sed 's/a/A/g' words.txt
### fast_sed_replace_4
sed 's|/|-|' README.md
### fast_sed_replace_5
sed s/a//g words.txt
### fast_sed_replace_6
sed -E 's/na/NA/' words.txt
### fast_sed_replace_ends_1
sed 's/last/LAST/' nonewline.txt
### fast_sed_replace_ends_2
printf 'aa\naa' | sed 's/a/b/'
### fast_sed_replace_ends_3
printf 'aa\naa' | sed 's/a/aa/g'
### fast_sed_replace_ends_4
sed 's/x/y/' empty.txt
### fast_sed_replace_ends_5
sed 's/e$/E/' words.txt
### fast_sed_specials_1
sed 's/a/[&]/' words.txt
### fast_sed_specials_2
sed 's/a/\n/' words.txt
### fast_sed_specials_3
sed 's/2/1.5/2' log.txt
### fast_sed_specials_4
sed 's/a/b/p' words.txt
### fast_sed_specials_5
sed 's/a.c/x/' words.txt
### fast_sed_specials_6
sed 's/A/b/I' words.txt
### fast_sed_specials_7
sed -E 's/a+/x/' words.txt
### fast_sed_specials_8
sed 's/a+/x/' words.txt
### fast_sed_lines_1
sed -n 2p words.txt
### fast_sed_lines_2
sed -n '2,4p' words.txt
### fast_sed_lines_3
sed -n '6,$p' words.txt
### fast_sed_lines_4
sed -n '3,2p' words.txt
### fast_sed_lines_5
sed -n '99p' words.txt
### fast_sed_lines_6
sed -n '2p' nonewline.txt
### fast_sed_lines_7
sed -n '$p' words.txt
### fast_sed_lines_8
sed -n '2,+1p' words.txt
### fast_sed_many_files_1
sed 's/a/A/' words.txt data.csv
### fast_sed_many_files_2
sed -n '8p' words.txt data.csv
### fast_sed_many_files_3
sed 's/t/T/' nonewline.txt words.txt
### fast_sed_missing_1
sed 's/a/b/' nope.txt; echo "code $?"
### fast_sed_missing_2
sed 's/a/b' words.txt; echo "code $?"
### fast_sed_missing_3
sed 's/a/A/' words.txt | head -1
### fast_sed_in_place
sed -i 's/apple/pear/' words.txt; cat words.txt; sed 's/pear/plum/' words.txt
### fast_awk_1
awk '{print $1}' log.txt
### fast_awk_2
awk '{print $2, $4}' log.txt
### fast_awk_3
awk '{ print $NF }' log.txt
### fast_awk_4
awk -F, '{print $2}' data.csv
### fast_awk_5
awk -F , '{print $1,$3}' data.csv
### fast_awk_6
awk '{print}' words.txt
### fast_awk_7
awk '{print $0;}' words.txt
### fast_awk_ends_1
awk '{print $1}' nonewline.txt empty.txt README.md
### fast_awk_ends_2
printf '  a  b  \n\n\tc' | awk '{print $2}'
### fast_awk_ends_3
printf '  a  b  \n\n\tc' | awk '{print $NF}'
### fast_awk_ends_4
printf 'a,,b\n,\n' | awk -F, '{print $2, $NF}'
### fast_awk_ends_5
awk '{print $9}' words.txt
### fast_awk_more_1
awk '/INFO/ {print $2}' log.txt
### fast_awk_more_2
awk '{print $1 $2}' log.txt
### fast_awk_more_3
awk '{print NR, $1}' words.txt
### fast_awk_more_4
awk -F: '{print $1}' OFS=- config.ini
### fast_awk_more_5
awk '{print "x"}' words.txt
### fast_awk_more_6
awk '{print $1, "x"}' words.txt
### fast_awk_more_7
awk -F'[,:]' '{print $2}' data.csv
### fast_awk_more_8
awk -F'|' '{print $1}' data.csv
### fast_awk_more_9
awk -v a=1 '{print $1}' words.txt
### fast_awk_missing_1
awk '{print $1}' nope.txt; echo "code $?"
### fast_awk_missing_2
awk '{print $1}' words.txt
### fast_pipes_and_codes_1
grep nothing log.txt | sort | uniq -c; echo "${PIPESTATUS[@]}"
### fast_pipes_and_codes_2
set -o pipefail; grep nothing log.txt | sort; echo "code $?"
### fast_in_loops_1
for w in $(sort -u words.txt); do grep -c "$w" words.txt; done
### fast_in_loops_2
while read -r l; do echo "$l" | tr a-z A-Z; done < words.txt
### fast_with_options_in_variables_1
o=-r; sort $o words.txt
### fast_with_options_in_variables_2
o='-t, -k2'; sort $o data.csv
### fast_with_options_in_variables_3
f=-c; sort words.txt | uniq $f
### fast_redirections
sort < words.txt > out.txt; uniq out.txt > u.txt; cat u.txt; sort words.txt | tee t.txt | uniq -c; cat t.txt; grep -c a < words.txt; sort nope.txt 2>/dev/null || echo failed
### fast_functions
sort() { echo mine; }; sort words.txt; command sort words.txt | head -1; unset -f sort; sort words.txt | head -1
### fast_functions_and_fallback_1
sort() { echo mine; }; command sort -k2 words.txt
### fast_functions_and_fallback_2
grep() { echo mine; }; command grep -o an words.txt; echo "code $?"
### fast_functions_and_fallback_3
tr() { echo mine; }; echo abc | command tr -c a x
### fast_functions_and_fallback_4
cut() { echo mine; }; command cut -c1-3 < words.txt > out.txt; cat out.txt
### fast_endless_pipe_1
yes | head -2
### fast_endless_pipe_2
seq 1000000 | head -1
### fast_endless_pipe_3
while :; do echo x; done | head -1
### fast_endless_pipe_4
seq $((10**9)) | head -1
### fast_endless_pipe_5
while read -r line < words.txt; do echo "$line"; done | head -2
### fast_endless_pipe_6
while read -r line || true; do echo "$line"; done < words.txt | head -9
### fast_endless_pipe_7
n=1e9; seq $n | head -1
### fast_endless_pipe_8
head -1 <(seq 1 0.0001 99999)
### fast_endless_pipe_9
while IFS=';' read -r line || [ -n "$line" ]; do echo "<$line>"; done < nonewline.txt | sort | head -1
### fast_numbers_with_a_sign_1
sed -n '2,+2p' words.txt
### fast_numbers_with_a_sign_2
sed -n '+2p' words.txt; echo "code $?"
### fast_numbers_with_a_sign_3
sed -n '2,0p' words.txt; echo "code $?"
### fast_numbers_with_a_sign_4
sed -n '02,03p' words.txt
### fast_numbers_with_a_sign_5
sed -n '0p' words.txt; echo "code $?"
### fast_cut_dash_as_delimiter
printf 'a-f1-b\n' | cut -d - -f1; printf 'a-b\n' | cut -d- -f 2
### fast_cut_lists
cut -d: -d, -f2 data.csv
### fast_tr_classes_of_the_second_set_1
echo xaB1 | tr 'x[:lower:]' 'y[:upper:]'
### fast_tr_classes_of_the_second_set_2
echo aB1 | tr '[:lower:]1' '[:upper:]x'
### fast_tr_classes_of_the_second_set_3
echo aabB1 | tr -s '[:lower:]' '[:upper:]'
### fast_tr_classes_of_the_second_set_4
echo aB1 | tr '[:lower:]' x
### fast_tr_classes_of_the_second_set_5
echo aB1 | tr '[:lower:][:upper:]' '[:upper:][:lower:]'
### fast_tr_classes_of_the_second_set_6
echo aB1 | tr '[:upper:]' a-z
### fast_tr_classes_of_the_second_set_7
echo aB1 | tr '[:digit:]' x
### fast_grep_tree_of_one_file_1
grep -r fn src/main.rs
### fast_grep_tree_of_one_file_2
grep -rn fn src/main.rs
### fast_grep_tree_of_one_file_3
grep -rc fn src/main.rs
### fast_grep_tree_of_one_file_4
grep -rH fn src/main.rs
### fast_grep_tree_of_one_file_5
grep -r fn src/main.rs words.txt
### fast_grep_tree_of_one_file_6
grep -r fn src/lib
### fast_grep_tree_of_one_file_7
grep -rl fn src/main.rs
### fast_grep_tree_of_one_file_8
grep -r README link.txt
### fast_tr_classes_that_delete
echo aB1 | tr -d '[:digit:]' | tr -ds a '[:upper:]'
