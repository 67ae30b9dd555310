*** Settings ***
Documentation       A calibration run: measure, store, refit, compare.
...
...                 Without a port it proves itself on a stand-in: a board whose true parameters are not those of the
...                 prior. With PORT the board on the cable is measured with the network that it runs:
...
...                 robot --variable PORT:/dev/ttyACM0 --variable PLATFORM:max78000 --variable NETWORKS:zoo:kws
...                 ...   --variable RECORDS:my-board robot/calibration
...
...                 Flash the next network and run again with the same RECORDS: the fit takes all of them.

Library             hil.robot.Calibration

Suite Setup         Measure
Test Timeout        5 minutes

Test Tags           calibration


*** Variables ***
${PORT}             ${EMPTY}
${PLATFORM}         max78000
${NETWORKS}         all
${RECORDS}          ${OUTPUT_DIR}/calibration/records
${CSV}              ${RECORDS}/measurements.csv
${FITTED}           ${RECORDS}/fitted
# What is planted: parameters far from their priors, among those that one operating point can tell apart (cycles of the
# host and of the bus per byte cannot be: only their sum is measured).
&{TRUE}             npu_init_s=30e-6    weight_load_host_cycles_per_byte=12    cycle_scale=1.3    cpu_op_cycles=2500


*** Test Cases ***
The Refitted Model Predicts Better
    Refit Should Predict Better    ${PLATFORM}    ${CSV}    at_most=5%

The True Parameters Are Recovered
    Skip If    $PORT    nobody knows the true parameters of a real board
    True Parameters Should Be Recovered    ${PLATFORM}    &{TRUE}


*** Keywords ***
Measure
    [Timeout]    10 minutes
    Skip If    not $PORT and $PLATFORM != "max78000"    the stand-in's parameters are those of MAX78000
    Skip If    $PORT and $NETWORKS == "all"    the board runs one network: name it, --variable NETWORKS:zoo:kws
    IF    $NETWORKS == "all"
        ${networks}=    Evaluate    ["zoo:" + name for name in hil.zoo.names()]    modules=hil.zoo
    ELSE
        ${networks}=    Evaluate    $NETWORKS.split(",")
    END
    FOR    ${network}    IN    @{networks}
        IF    $PORT
            Measure Network    ${PLATFORM}    ${network}    ${PORT}    ${RECORDS}    windows=5
        ELSE
            ${url}=    Start Stand-In    ${PLATFORM}    ${network}    &{TRUE}
            Measure Network    ${PLATFORM}    ${network}    ${url}    ${RECORDS}
        END
    END
    Stop Stand-In
    ${figures}=    Store Measurements    ${RECORDS}    ${CSV}
    Log    ${figures} figures of ${networks}
    Refit Platform    ${PLATFORM}    ${CSV}    ${FITTED}
